package fetch

import (
	"net/netip"
	"strings"
	"testing"

	"code.dny.dev/ssrf"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// covers: AS-CIMD-09, SEC-05
func TestCheckAddr(t *testing.T) {
	oracle := ssrf.New(ssrf.WithAnyPort())
	for _, s := range []string{
		// fourteen forms of one attack
		"127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "fd00:ec2::254", "0.0.0.0",
		// the rest of the registries
		"0.1.2.3", "127.255.255.254", "192.0.0.1", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.18.0.1",
		"198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:20::1", "2001:db8::1", "2002::1",
		"2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff02::1",
	} {
		if (Config{}).CheckAddr(addr(s)) == nil {
			t.Errorf("%s is accepted", s)
		}
		if oracle.SafeAddr(addr(s)) == nil {
			t.Errorf("%s: the oracle has another opinion", s)
		}
	}
	for _, s := range []string{
		"8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.0", "198.20.0.0", "223.255.255.255",
		"2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "3ffe::1",
	} {
		if err := (Config{}).CheckAddr(addr(s)); err != nil {
			t.Errorf("a public address is refused: %v", err)
		}
	}
	for _, s := range []string{"100.100.100.200", "168.63.129.16", "fd00:ec2::254", "169.254.169.254"} {
		c := Config{AllowPrivate: true, AllowLoopback: true, Private: []netip.Prefix{pre("0.0.0.0/0"), pre("::/0")}}
		if c.CheckAddr(addr(s)) == nil {
			t.Errorf("metadata service %s is accepted where private addresses are", s)
		}
	}
	if (Config{}).CheckAddr(netip.Addr{}) == nil || (Config{}).CheckAddr(addr("2606:4700::1111%eth0")) == nil {
		t.Error("no address, or one with a zone, is accepted")
	}
}

func TestAllowances(t *testing.T) {
	loop, priv := Config{AllowLoopback: true}, Config{AllowPrivate: true}
	some := Config{Private: []netip.Prefix{pre("10.1.0.0/16"), pre("fd12::/16"), pre("127.0.0.0/8"), pre("169.254.0.0/16")}}
	for _, c := range []struct {
		addr             string
		loop, priv, some bool
	}{
		{"127.0.0.1", true, false, false},
		{"::1", true, false, false},
		{"::ffff:127.0.0.1", false, false, false},
		{"10.1.2.3", false, true, true},
		{"10.2.2.3", false, true, false},
		{"192.168.0.1", false, true, false},
		{"100.64.0.1", false, true, false},
		{"fd12::1", false, true, true},
		{"fd13::1", false, true, false},
		{"::ffff:10.1.2.3", false, false, false},
		{"169.254.169.254", false, false, false},
		{"fe80::1", false, false, false},
		{"0.0.0.0", false, false, false},
		{"224.0.0.1", false, false, false},
		{"8.8.8.8", true, true, true},
	} {
		for _, d := range []struct {
			name   string
			config Config
			want   bool
		}{{"loopback", loop, c.loop}, {"private", priv, c.priv}, {"some private", some, c.some}} {
			if err := d.config.CheckAddr(addr(c.addr)); (err == nil) != d.want {
				t.Errorf("%s with %s: %v, want accepted: %v", c.addr, d.name, err, d.want)
			}
		}
	}
}

// FuzzCheckAddr: what is accepted here is accepted by another implementation.
func FuzzCheckAddr(f *testing.F) {
	for _, s := range specials {
		f.Add(s.prefix.Addr().AsSlice())
		f.Add(s.prefix.Addr().Prev().AsSlice())
	}
	f.Add([]byte{8, 8, 8, 8})
	f.Add([]byte(strings.Repeat("\x20", 16)))
	oracle := ssrf.New(ssrf.WithAnyPort())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		if (Config{}).CheckAddr(a) == nil {
			if err := oracle.SafeAddr(a); err != nil {
				t.Errorf("%s is accepted: %v", a, err)
			}
			if a.IsPrivate() || a.IsLoopback() || !a.IsGlobalUnicast() {
				t.Errorf("%s is accepted", a)
			}
		}
	})
}
