package fetch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// kind says what a special-use prefix is for, and so whether a Config may open it.
type kind int

const (
	never    kind = iota // no Config opens it
	private              // AllowPrivate, or a prefix of Private
	loopback             // AllowLoopback
)

type special struct {
	prefix netip.Prefix
	kind   kind
	name   string
}

// specials are the special-use addresses (RFC 6890 and the IANA registries of
// special-purpose addresses as of 2025). The first that matches decides, so
// what is narrower stands in front.
var specials = []special{
	// Metadata services of clouds: they give credentials to whoever asks, so
	// they stay closed even where private addresses are open.
	{pre("100.100.100.200/32"), never, "cloud metadata"},
	{pre("168.63.129.16/32"), never, "cloud metadata"},
	{pre("fd00:ec2::/32"), never, "cloud metadata"},
	{pre("fd20:ce::/32"), never, "cloud metadata"},

	{pre("127.0.0.0/8"), loopback, "loopback"},
	{pre("::1/128"), loopback, "loopback"},
	{pre("10.0.0.0/8"), private, "private"},
	{pre("172.16.0.0/12"), private, "private"},
	{pre("192.168.0.0/16"), private, "private"},
	{pre("100.64.0.0/10"), private, "carrier-grade NAT"},
	{pre("fc00::/7"), private, "unique local"},

	{pre("0.0.0.0/8"), never, "this network"},
	{pre("169.254.0.0/16"), never, "link-local"},
	{pre("192.0.0.0/24"), never, "protocol assignments"},
	{pre("192.0.2.0/24"), never, "documentation"},
	{pre("192.31.196.0/24"), never, "AS112"},
	{pre("192.52.193.0/24"), never, "AMT"},
	{pre("192.88.99.0/24"), never, "6to4 relay"},
	{pre("192.175.48.0/24"), never, "AS112"},
	{pre("198.18.0.0/15"), never, "benchmarking"},
	{pre("198.51.100.0/24"), never, "documentation"},
	{pre("203.0.113.0/24"), never, "documentation"},
	{pre("224.0.0.0/4"), never, "multicast"},
	{pre("240.0.0.0/4"), never, "reserved or broadcast"},

	{pre("::/128"), never, "unspecified"},
	{pre("::ffff:0:0/96"), never, "IPv4-mapped"},
	{pre("64:ff9b::/96"), never, "IPv4 translation"},
	{pre("64:ff9b:1::/48"), never, "IPv4 translation"},
	{pre("100::/64"), never, "discard"},
	{pre("2001::/23"), never, "protocol assignments (Teredo, ORCHID)"},
	{pre("2001:db8::/32"), never, "documentation"},
	{pre("2002::/16"), never, "6to4"},
	{pre("2620:4f:8000::/48"), never, "AS112"},
	{pre("3fff::/20"), never, "documentation"},
	{pre("fe80::/10"), never, "link-local"},
	{pre("fec0::/10"), never, "site-local"},
	{pre("ff00::/8"), never, "multicast"},
}

// global6 is all of IPv6 that is given out as global unicast (RFC 4291 section
// 2.4 and the IANA registry); what is neither in it nor opened is closed.
var global6 = pre("2000::/3")

func pre(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// CheckAddr says why an address may not be dialled, or nil.
func (c Config) CheckAddr(addr netip.Addr) error {
	if !addr.IsValid() {
		return errors.New("no valid address")
	}
	if addr.Zone() != "" {
		return fmt.Errorf("%s has a zone, so it is no public address", addr)
	}
	for _, s := range specials {
		// netip matches an IPv4-mapped address with no prefix of either family.
		if s.prefix.Contains(addr) || addr.Is4In6() && s.name == "IPv4-mapped" {
			if c.opens(s.kind, addr) {
				return nil
			}
			return fmt.Errorf("%s is a special-use address (%s)", addr, s.name)
		}
	}
	if addr.Is6() && !global6.Contains(addr) {
		return fmt.Errorf("%s is outside of global unicast (2000::/3)", addr)
	}
	return nil
}

func (c Config) opens(k kind, addr netip.Addr) bool {
	switch k {
	case loopback:
		return c.AllowLoopback
	case private:
		return c.AllowPrivate || slices.ContainsFunc(c.Private, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	return false
}
