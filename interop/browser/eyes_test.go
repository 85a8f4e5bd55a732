package browser_test

import (
	"fmt"
	"slices"
	"strings"
)

// check looks at the page as it stands, at both sizes and in both colours.
func (b *tab) check(name string) {
	b.t.Helper()
	for _, width := range widths {
		for _, scheme := range schemes {
			b.look(width, scheme)
			at := fmt.Sprintf("%s, %d px, %s", name, width, scheme)
			if wide := js[float64](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
				b.t.Errorf("%s: %v px stand out at the side", at, wide)
			}
			for _, faint := range js[[]string](b, faintText) {
				b.t.Errorf("%s: contrast %s", at, faint)
			}
			for _, small := range js[[]string](b, smallTargets) {
				b.t.Errorf("%s: hard to hit: %s", at, small)
			}
		}
		b.checkKeyboard(fmt.Sprintf("%s, %d px", name, width))
	}
	if loose := js[[]string](b, looseNames); len(loose) > 0 {
		b.t.Errorf("%s: names outside of <bdi>: %q", name, loose)
	}
	if n := js[float64](b, `document.querySelectorAll('h1').length`); n != 1 {
		b.t.Errorf("%s: %v headings of the first rank", name, n)
	}
	if lang := js[string](b, `document.documentElement.lang`); lang == "" {
		b.t.Errorf("%s: no language", name)
	}
}

var (
	widths  = []int64{390, 1280}
	schemes = []string{"light", "dark"}
)

// checkKeyboard goes round the page with Tab: it must meet every control, in
// the order in which they stand, show where it is, and each must have a name.
func (b *tab) checkKeyboard(at string) {
	b.t.Helper()
	visual := js[[]string](b, visualOrder)
	var met []string
	for range len(visual) + 2 { // it may begin in the middle, and leaves the page once
		b.keys("\t")
		if where := js[string](b, `document.activeElement.dataset.place || ''`); where != "" && !slices.Contains(met, where) {
			met = append(met, where)
			if !js[bool](b, focusShows) {
				b.t.Errorf("%s: nothing shows that the focus is on %s", at, where)
			}
		}
	}
	if len(met) > 0 {
		if i := slices.Index(met, visual[0]); i > 0 {
			met = append(slices.Clone(met[i:]), met[:i]...)
		}
	}
	if !slices.Equal(met, visual) {
		b.t.Errorf("%s: Tab goes\n%s\nbut they stand\n%s", at, strings.Join(met, "\n"), strings.Join(visual, "\n"))
	}
	controls := b.controls()
	if len(controls) < len(visual) {
		b.t.Errorf("%s: %d controls stand there, assistive software knows of %v", at, len(visual), controls)
	}
	names := map[control]int{}
	for _, c := range controls {
		if strings.TrimSpace(c.name) == "" {
			b.t.Errorf("%s: a %s without a name", at, c.role)
		}
		if names[c]++; names[c] > 1 {
			b.t.Errorf("%s: two controls are the %s %q", at, c.role, c.name)
		}
	}
}

// faintText lists text whose contrast with what lies behind it is below 4.5
// (WCAG 2.2, 1.4.3).
const faintText = `(() => {
	const rgba = c => { const m = c.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m.length > 3 ? m[3] : 1]; };
	const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const behind = e => {
		const layers = [];
		for (let n = e; n; n = n.parentElement) layers.push(rgba(getComputedStyle(n).backgroundColor));
		const dark = matchMedia('(prefers-color-scheme: dark)').matches;
		return layers.reverse().reduce((under, l) => over(l, under), dark ? [18, 18, 18, 1] : [255, 255, 255, 1]);
	};
	const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
		return .2126 * r + .7152 * g + .0722 * b; };
	const out = [];
	const test = (e, what) => {
		const ground = behind(e), a = light(over(rgba(getComputedStyle(e).color), ground)), b = light(ground);
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) out.push(ratio.toFixed(2) + ' of ' + JSON.stringify(what.trim().slice(0, 60)));
	};
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n = walk.nextNode(); n; n = walk.nextNode()) if (n.data.trim() && n.parentElement.getClientRects().length) test(n.parentElement, n.data);
	for (const e of document.querySelectorAll('input:not([type=hidden])')) test(e, e.name);
	return out;
})()`

// smallTargets lists what is smaller than 24 px in a direction (WCAG 2.2, 2.5.8)
// and stands in no line of text.
const smallTargets = `[...document.querySelectorAll('button, input:not([type=hidden])')].filter(e => {
	const r = e.getBoundingClientRect(); return r.width < 24 || r.height < 24; }).map(e => e.outerHTML.slice(0, 80))`

// visualOrder lists what can be used, from top to bottom and from left to
// right, and marks each so that the focus can be recognised.
const visualOrder = `(() => {
	const list = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, [tabindex]')].map(e => {
		const r = e.getClientRects()[0]; return {e, top: r.top + scrollY, bottom: r.bottom + scrollY, left: r.left}; });
	list.sort((a, b) => a.bottom <= b.top + 2 ? -1 : b.bottom <= a.top + 2 ? 1 : a.left - b.left);
	return list.map(({e}, i) => e.dataset.place = i + ' ' + (e.innerText || e.name).trim().replace(/\s+/g, ' ').slice(0, 60));
})()`

const focusShows = `(() => { const s = getComputedStyle(document.activeElement);
	return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()`

// looseNames lists text with right-to-left letters outside of an element that
// isolates it.
const looseNames = `(() => {
	const out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n = walk.nextNode(); n; n = walk.nextNode())
		if (/[\u0590-\u08ff]/.test(n.data.replace(/\u2068[^\u2069]*\u2069/g, '')) && !n.parentElement.closest('bdi, [dir=auto]')) out.push(n.data);
	return out;
})()`
