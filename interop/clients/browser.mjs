// What stands in for the person's browser: it hands the URL to the test and
// waits until the person there is done. Run as xdg-open or $BROWSER.
const res = await fetch(process.env.DOORWARD_TEST_BROWSER, { method: 'POST', body: process.argv[2] });
if (!res.ok) {
  console.error(await res.text());
  process.exit(1);
}
