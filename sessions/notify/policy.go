package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

// Resolver looks up the addresses of a host; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// errNotPublic deliberately does not say which address a name has.
var errNotPublic = errors.New("its address is not a public one")

// policy says which hosts the server may send to.
type policy struct {
	allowed  map[string]bool // "host" for every port, "host:port"
	guard    *ssrf.Guardian
	resolver Resolver
}

// azureMetadata is the one metadata service with an address from public space.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

func newPolicy(allow []string, resolver Resolver) (*policy, error) {
	p := &policy{allowed: map[string]bool{}, resolver: resolver,
		guard: ssrf.New(ssrf.WithPorts(443), ssrf.WithDeniedV4Prefixes(azureMetadata))}
	for _, entry := range allow {
		host, port := entry, ""
		if _, err := netip.ParseAddr(entry); err != nil && strings.Contains(entry, ":") {
			host, port, err = net.SplitHostPort(entry)
			if _, numeric := strconv.ParseUint(port, 10, 16); err != nil || numeric != nil {
				return nil, fmt.Errorf("--allow-webhook %q is not HOST or HOST:PORT", entry)
			}
		}
		if host == "" || strings.ContainsAny(host, "/@*[] ") {
			return nil, fmt.Errorf("--allow-webhook %q is not HOST or HOST:PORT", entry)
		}
		p.allowed[hostKey(host, port)] = true
	}
	return p, nil
}

func hostKey(host, port string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// allows tells whether the operator named this host, so that it may be private and speak plain http.
func (p *policy) allows(host, port string) bool {
	return p.allowed[hostKey(host, "")] || p.allowed[hostKey(host, port)]
}

// parse reads the URL of a receiver. Errors never quote it, for its path may hold a secret.
func (p *policy) parse(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("is missing; use https://HOST/PATH")
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL; use https://HOST/PATH")
	}
	host, port := u.Hostname(), portOf(u)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("has the scheme %q; use https://HOST/PATH", u.Scheme)
	case host == "" || u.Opaque != "":
		return nil, errors.New("names no host; use https://HOST/PATH")
	case u.User != nil:
		return nil, errors.New("holds a user name or password; use auth_token or secret instead")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("has a fragment (#…), which is never sent; leave it out")
	case !plainASCII(text):
		return nil, errors.New("holds characters other than printable ASCII; write the host as xn--… and the path with %XX")
	case strings.Contains(host, "%"):
		return nil, errors.New("names a network interface (%…); leave it out")
	case p.allows(host, port):
		return u, nil
	case u.Scheme == "http":
		return nil, fmt.Errorf("is plain http; use https, or have the operator start the server with --allow-webhook %s", hostPort(u))
	case port != "443":
		return nil, fmt.Errorf("has port %s; use 443, or have the operator start the server with --allow-webhook %s", port, hostPort(u))
	}
	return u, p.checkName(host, port)
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

func hostPort(u *url.URL) string { return net.JoinHostPort(u.Hostname(), portOf(u)) }

func plainASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// checkName judges what can be judged without DNS.
func (p *policy) checkName(host, port string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.checkAddr(addr, host, port)
	}
	// Resolvers of C libraries read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses.
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(host), "."), ".")
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return errors.New("names a host by a number; write an address as four decimal numbers, or use a name")
	}
	if last == "localhost" {
		return notPublic(host, port)
	}
	return nil
}

func (p *policy) checkAddr(addr netip.Addr, host, port string) error {
	if p.guard.SafeAddr(addr.Unmap()) != nil {
		return notPublic(host, port)
	}
	return nil
}

func notPublic(host, port string) error {
	return fmt.Errorf("is refused: %w; the operator can allow it with --allow-webhook %s", errNotPublic, net.JoinHostPort(host, port))
}

// lookupWait is how long the check of a receiver waits for DNS; deliveries look again.
const lookupWait = 2 * time.Second

// check looks the host up as well. A name that cannot be resolved now may be later.
func (p *policy) check(ctx context.Context, text string) error {
	u, err := p.parse(text)
	if err != nil {
		return err
	}
	host, port := u.Hostname(), portOf(u)
	if p.allows(host, port) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	addrs, err := p.resolve(ctx, host)
	if err != nil {
		return nil
	}
	for _, addr := range addrs {
		if err := p.checkAddr(addr, host, port); err != nil {
			return err
		}
	}
	return nil
}

func (p *policy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	addrs, err := p.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, errors.New("the host has no address")
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// connectTimeout bounds the connection to one of a host's addresses.
const connectTimeout = 5 * time.Second

// dial connects for the HTTP client. The guard sees the address of each connection right before it is made.
func (p *policy) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := p.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	if !p.allows(host, port) {
		dialer.Control = p.guard.Safe
	}
	var connection net.Conn
	for _, addr := range addrs {
		if connection, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), port)); err == nil {
			return connection, nil
		}
	}
	return nil, err
}
