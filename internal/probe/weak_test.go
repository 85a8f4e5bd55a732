package probe_test

import (
	"slices"
	"strings"
	"testing"

	"doorward/authtest"
	"doorward/internal/probe"
)

// atWeak probes a weak server with everything that the probe can be given.
func atWeak(t *testing.T, only []string, faults ...string) probe.Report {
	t.Helper()
	w := authtest.NewWeak(t, faults...)
	r, err := probe.Run(t.Context(), probe.Config{
		Issuer: w.Issuer, ClientID: authtest.ClientID, ClientSecret: authtest.ClientSecret, User: user, Password: password,
		Transport: w.Transport(), Pace: -1, IdPAddress: "127.0.0.1:0", Trust: w.Trust, Only: only,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func broken(r probe.Report) []string {
	var out []string
	for _, res := range r.Rules {
		if res.Result == probe.Broken {
			out = append(out, res.ID)
		}
	}
	slices.Sort(out)
	return out
}

// The list of faults is the list of rules.
func TestEveryRuleHasItsFault(t *testing.T) {
	faults := authtest.Faults()
	ids := map[string]bool{}
	for _, r := range probe.Rules() {
		if ids[r.ID] {
			t.Errorf("%s is there twice", r.ID)
		}
		ids[r.ID] = true
		if faults[r.ID] == "" {
			t.Errorf("the weak server cannot break %s (%s)", r.ID, r.Title)
		}
		if r.Title == "" || r.Source == "" || r.Mend == "" || strings.HasSuffix(r.Title, ".") || !strings.HasSuffix(r.Mend, ".") {
			t.Errorf("%s: %+v", r.ID, r)
		}
	}
	for id := range faults {
		if !ids[id] {
			t.Errorf("no rule is about the fault %s", id)
		}
	}
}

// Without faults the weak server is as good as the strong one.
func TestNoFalseAlarmAtTheWeakServerWithoutFaults(t *testing.T) {
	r := atWeak(t, nil)
	for _, res := range r.Rules {
		if res.Result != probe.Held && res.ID != "AS-META-05.algs" {
			t.Errorf("%s: %s: %s\n%+v", res.ID, res.Result, res.Saw, res.Exchange)
		}
	}
}

// All faults at once are all found.
func TestAllFaultsAtOnceAreFound(t *testing.T) {
	var all []string
	for id := range authtest.Faults() {
		all = append(all, id)
	}
	r := atWeak(t, nil, all...)
	for _, res := range r.Rules {
		if res.Result != probe.Broken {
			t.Errorf("%s: %s: %s\n%+v", res.ID, res.Result, res.Saw, res.Exchange)
		}
	}
}

// besides are the rules that a fault breaks with its own: the hole is the same.
var besides = map[string][]string{
	"AS-AUTHZ-02.redirect": {"AS-REDIR-01.case", "AS-REDIR-01.dots", "AS-REDIR-01.encoding", "AS-REDIR-01.fragment", "AS-REDIR-01.host", "AS-REDIR-01.loopback-path",
		"AS-REDIR-01.port", "AS-REDIR-01.prefix", "AS-REDIR-01.query", "AS-REDIR-01.scheme", "AS-REDIR-01.slash", "AS-REDIR-01.subdomain", "AS-REDIR-01.suffix",
		"AS-REDIR-01.userinfo", "AS-REDIR-03.loopback"}, // compares nothing
	"AS-REDIR-01.prefix":  {"AS-REDIR-01.fragment", "AS-REDIR-01.query", "AS-REDIR-01.slash"}, // they begin like it
	"AS-REDIR-01.host":    {"AS-REDIR-01.port", "AS-REDIR-01.subdomain", "AS-REDIR-01.suffix", "AS-REDIR-01.userinfo", "AS-REDIR-03.loopback"},
	"AS-REDIR-01.dots":    {"AS-REDIR-01.slash"},                         // which cleaning takes off
	"AS-CODE-02.replay":   {"AS-CODE-02.parallel", "AS-CODE-03.revoke"},  // no use is a second one
	"AS-PKCE-04.wrong":    {"AS-CODE-03.invalid"},                        // no verifier is wrong
	"AS-RT-02.rotate":     {"AS-RT-03.family", "AS-RT-03.replay"},        // nothing is ever replaced
	"AS-RT-03.replay":     {"AS-RT-03.family"},                           // nothing comes again
	"AS-CAUTH-08.secret":  {"AS-CAUTH-03.challenge", "AS-CAUTH-08.same"}, // no authentication fails
	"AS-META-04.explicit": {"AS-META-08.profile"},                        // the grant is not listed either
}

// Each fault alone is found, and nothing else that has nothing to do with it.
func TestEachFaultAloneIsFound(t *testing.T) {
	for id := range authtest.Faults() {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			want := append([]string{id}, besides[id]...)
			slices.Sort(want)
			var only []string
			if raceDetector {
				part, _, _ := strings.Cut(id, ".")
				only = []string{part[:strings.LastIndex(part, "-")]} // AS-REDIR, X-JWT
				for _, other := range besides[id] {
					only = append(only, other[:strings.LastIndex(other, "-")])
				}
			}
			r := atWeak(t, only, id)
			if got := broken(r); !slices.Equal(got, want) {
				t.Errorf("broken %q, want %q", got, want)
			}
			for _, res := range r.Rules {
				if res.Result == probe.NotTestable && res.ID != "AS-META-05.algs" || res.Result == probe.Broken && !slices.Contains(want, res.ID) {
					t.Errorf("%s: %s: %s", res.ID, res.Result, res.Saw)
				}
			}
		})
	}
}
