package peer

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// HasSubject compares the subject that a client is registered with and the
// certificate's (RFC 8705 section 2.1.2): a distinguished name as RFC 4514 writes
// it, or one of its alternative names.
func HasSubject(c *x509.Certificate, want string) error {
	kind, value, _ := strings.Cut(want, ":")
	same := false
	switch kind {
	case "dns":
		same = slices.ContainsFunc(c.DNSNames, func(n string) bool { return strings.EqualFold(n, value) })
	case "uri":
		for _, u := range c.URIs {
			same = same || u.String() == value
		}
	case "email":
		same = slices.Contains(c.EmailAddresses, value)
	case "ip":
		a, err := netip.ParseAddr(value)
		for _, ip := range c.IPAddresses {
			got, ok := netip.AddrFromSlice(ip)
			same = same || err == nil && ok && got.Unmap() == a.Unmap()
		}
	default:
		name, err := distinguishedName(c)
		if err != nil {
			return err
		}
		same = want != "" && name == want
	}
	if !same {
		return fmt.Errorf("the certificate is not that of %q", want)
	}
	return nil
}

// distinguishedName is the subject of a certificate in the form of RFC 4514, as
// `openssl x509 -subject -nameopt RFC2253` prints it.
func distinguishedName(c *x509.Certificate) (string, error) {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &name); err != nil || len(rest) > 0 {
		return "", errors.New("the subject of the certificate cannot be read")
	}
	return name.String(), nil
}

// CheckSubject says why a configured subject can never fit.
func CheckSubject(subject string) error {
	kind, value, _ := strings.Cut(subject, ":")
	switch kind {
	case "dns", "uri", "email":
		if value == "" {
			return fmt.Errorf("%q names nothing", subject)
		}
	case "ip":
		if _, err := netip.ParseAddr(value); err != nil {
			return fmt.Errorf("%q is no IP address", subject)
		}
	default:
		if !strings.Contains(subject, "=") {
			return fmt.Errorf("%q is no subject: write a distinguished name like CN=client,O=Example, or dns:NAME, uri:URI, ip:ADDRESS, email:ADDRESS", subject)
		}
	}
	return nil
}
