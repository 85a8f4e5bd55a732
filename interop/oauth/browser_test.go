package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"doorward/internal/browse"
)

// visit does what a request to the stand-in for a browser asks for.
func visit(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.URL.Path != "/device" {
		return walk(r.Context(), string(body), "")
	}
	var device struct{ URI, Code string }
	if err := json.Unmarshal(body, &device); err != nil {
		return err
	}
	return walk(r.Context(), device.URI, device.Code)
}

// walk opens an address, signs in, types the code of a device and allows what
// is asked, until a page has nothing more to answer: the program's own, or that
// of a device that is let in.
func walk(ctx context.Context, uri, code string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	client := &http.Client{Jar: jar}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return err
	}
	for range 10 {
		page, at, err := read(client, req)
		if err != nil {
			return err
		}
		form, err := browse.ReadForm(at, page)
		switch {
		case err != nil: // no form: it is done
			return nil
		case strings.Contains(page, `type="password"`):
			form.Fill("alice", password)
		case strings.Contains(page, `name="user_code"`):
			form.Values.Set("user_code", code)
		}
		if req, err = form.Request(ctx); err != nil {
			return err
		}
	}
	return errors.New("ten pages and no end")
}

func read(c *http.Client, req *http.Request) (string, *url.URL, error) {
	res, err := c.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", res.Request.URL.Path, res.Status)
	}
	return string(body), res.Request.URL, err
}
