package oauth

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// alike fails the test if ParseForm and url.ParseQuery read the body as two things.
func alike(t *testing.T, body string) {
	t.Helper()
	got, err := ParseForm(body)
	want, wantErr := url.ParseQuery(body)
	if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %v, %v; url.ParseQuery: %v, %v", body, got, err, want, wantErr)
	}
}

var forms = []string{
	"", "&", "&&", "=", "a", "a=", "=b", "a=b", "a=b&", "&a=b", "a=b&&c=d", "a=b&c=d&a=e&a=", "a=b=c", "a+b=c+d", "a%20b=%3D%26", "a=%2", "a=%zz&b=c", "%=b",
	"a;b=c", "a=b;c=d", "a=b&c;d", "a=%3B", "a=\x00\xff", "ä=ö", "a=1&a=2&b=3&a=4&b=5",
	"grant_type=refresh_token&refresh_token=abc-_&client_id=x&resource=https%3A%2F%2Fmcp.example%2Ffiles",
	strings.Repeat("a=b&", 15) + "a=b", strings.Repeat("a=b&", 16) + "a=b", strings.Repeat("&", 40), strings.Repeat("x=%41&", 9),
}

func TestParseFormAsTheStandardLibraryDoes(t *testing.T) {
	for _, body := range forms {
		alike(t, body)
	}
}

// Values of one name are never written over those of another.
func TestFormValuesStandApart(t *testing.T) {
	form, err := ParseForm("a=1&b=2&a=3&c=4")
	if err != nil {
		t.Fatal(err)
	}
	form.Add("b", "5")
	form.Add("a", "6")
	if want := (url.Values{"a": {"1", "3", "6"}, "b": {"2", "5"}, "c": {"4"}}); !reflect.DeepEqual(form, want) {
		t.Errorf("%v, want %v", form, want)
	}
}

func FuzzParseForm(f *testing.F) {
	for _, body := range forms {
		f.Add(body)
	}
	f.Fuzz(alike)
}
