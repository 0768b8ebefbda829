package proxy

import (
	"cmp"
	"crypto/tls"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Header is a header by canonical names: the type of http.Header.
type Header = map[string][]string

// hopByHop are the headers that concern one connection and go no further
// (RFC 9110, 7.6.1; RFC 9113, 8.2.2), with those that old clients send in
// their place. Te may be kept as "trailers".
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// ours are the headers that say something of the client or of the way its
// request came: nobody but Serin says them, in whatever spelling. They are
// folded, see fold.
var ours = [...]string{
	"forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host",
	"x-forwarded-prefix", "x-forwarded-server", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-scheme",
	"x-forwarded-ssl", "x-forwarded-by", "x-forwarded-client-cert", "x-real-ip", "x-client-ip", "client-ip",
	"x-cluster-client-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip",
	"proxy", // read by CGI programs as their own proxy setting (httpoxy, CVE-2016-5385)
}

// kept are the headers that no Connection header can take away: without them
// the request would mean another thing.
var kept = [...]string{"host", "content-length", "authorization", "cookie", "content-type"}

// Forwarding is what an engine knows of a request besides its header.
type Forwarding struct {
	Remote, Local netip.AddrPort       // of the client's connection
	TLS           *tls.ConnectionState // nil on a plain connection
	Proto         string               // as the client spoke: "HTTP/1.1", "HTTP/2.0"
	Host          string               // the client's original host
	Client        netip.Addr           // see Core.ClientAddr
	RequestID     string               // see Core.RequestID; "" sends none
	Prefix        string               // what was stripped from the path, "" for nothing
	StripCookie   string               // Decision.Strip
	Upgrade       string               // "websocket" keeps the upgrade; "" removes it
}

// fold writes a header's name as careless servers read it: in lower case, with
// "_", "." and "~" for "-" and no blanks around. It does not allocate for names
// that are at home in HTTP/2.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case r == '_' || r == '.' || r == '~' || r == ' ':
			return '-'
		}
		return r
	}, strings.TrimSpace(name))
}

// isOurs reports whether a header of the client's, by its folded name, is never
// forwarded as it came.
func (h *Headers) isOurs(folded string) bool {
	if slices.Contains(ours[:], folded) || strings.HasPrefix(folded, "x-forwarded-tls") {
		return true
	}
	for _, name := range [...]string{h.ClientIP, h.RequestID, h.TLS} {
		if name != "" && fold(name) == folded {
			return true
		}
	}
	return false
}

func (c *Core) trusts(peer netip.Addr) bool {
	peer = peer.Unmap().WithZone("")
	for _, p := range c.Trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// ClientAddr returns the address that is believed to be the client's: the
// peer's, or where the peer is trusted the rightmost address of
// X-Forwarded-For that is not. Behind something that is no address nothing is
// believed.
func (c *Core) ClientAddr(h Header, remote netip.Addr) netip.Addr {
	client := remote.Unmap().WithZone("")
	lines := h["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			if !c.trusts(client) {
				return client
			}
			var last string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, last = rest[:at], rest[at+1:]
			} else {
				last, more = rest, false
			}
			addr, ok := parseClient(last)
			if !ok {
				return client
			}
			client = addr
		}
	}
	return client
}

// parseClient reads an address, with a port or brackets around it as some
// proxies write it.
func parseClient(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// RequestID returns the id of a request for its log line and its instance: a
// new UUID, or the one a trusted peer sent; "" when Headers.RequestID is "".
func (c *Core) RequestID(h Header, remote netip.Addr) string {
	if c.Headers.RequestID == "" {
		return ""
	}
	if v := get(h, c.Headers.RequestID); v != "" && len(v) <= 128 && c.trusts(remote) && printable(v) {
		return v
	}
	return newUUID(c.Rand(), c.Rand())
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// newUUID returns a version 4 UUID (RFC 9562) of two draws: ids are for
// finding a line in a log, and need not be unguessable.
func newUUID(hi, lo uint64) string {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	b := appendHex64(appendHex64(make([]byte, 0, 36), hi), lo)
	for _, at := range [...]int{8, 13, 18, 23} {
		b = slices.Insert(b, at, '-')
	}
	return string(b)
}

// ForwardHeaders turns the header of a client's request, in place, into the
// one its instance gets: hop-by-hop headers are removed first, then whatever
// pretends to be ours, then the forwarding headers are added, so that nothing
// the client lists in Connection can take them away. A trusted peer's
// forwarding headers are continued; X-Forwarded-Host is the host that the
// client asked for.
func (c *Core) ForwardHeaders(h Header, f Forwarding) {
	trusted := c.trusts(f.Remote.Addr())
	var before Header
	if trusted {
		before = Header{}
		for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix"} {
			if v := h[name]; len(v) > 0 {
				before[name] = v
			}
		}
	}
	trailers := hasToken(h["Te"], "trailers")
	removeHopByHop(h)
	for name := range h {
		if folded := fold(name); c.Headers.isOurs(folded) || folded != strings.ToLower(name) && isFraming(folded) {
			delete(h, name)
		}
	}
	if f.StripCookie != "" {
		stripCookie(h, f.StripCookie)
	}
	if f.Upgrade != "" {
		set(h, "Connection", "Upgrade")
		set(h, "Upgrade", f.Upgrade)
	}
	if trailers {
		set(h, "Te", "trailers")
	}
	c.addForwarding(h, before, f)
}

// isFraming reports whether a header decides where a message ends: a look-alike
// of it is not let through.
func isFraming(folded string) bool {
	return folded == "transfer-encoding" || folded == "content-length" || folded == "host" ||
		folded == "connection" || folded == "upgrade" || folded == "te" || folded == "trailer"
}

func (c *Core) addForwarding(h, before Header, f Forwarding) {
	peer := f.Remote.Addr().Unmap().WithZone("").String()
	proto := "http"
	port := "80"
	if f.TLS != nil {
		proto, port = "https", "443"
	}
	if f.Local.IsValid() {
		port = strconv.Itoa(int(f.Local.Port()))
	}
	forwardedFor := peer
	if v := before["X-Forwarded-For"]; len(v) > 0 {
		forwardedFor = strings.Join(v, ", ") + ", " + peer
	}
	set(h, "X-Forwarded-For", forwardedFor)
	set(h, "X-Forwarded-Proto", cmp.Or(get(before, "X-Forwarded-Proto"), proto))
	set(h, "X-Forwarded-Port", cmp.Or(get(before, "X-Forwarded-Port"), port))
	set(h, "X-Forwarded-Host", cmp.Or(get(before, "X-Forwarded-Host"), f.Host))
	if prefix := get(before, "X-Forwarded-Prefix") + f.Prefix; prefix != "" {
		set(h, "X-Forwarded-Prefix", prefix)
	}
	set(h, "X-Real-Ip", f.Client.String())
	set(h, "Forwarded", forwarded(before["Forwarded"], f, proto))
	if c.Headers.ClientIP != "" {
		set(h, c.Headers.ClientIP, f.Client.String())
	}
	if c.Headers.RequestID != "" && f.RequestID != "" {
		set(h, c.Headers.RequestID, f.RequestID)
	}
	if c.Headers.TLS != "" && f.TLS != nil {
		set(h, c.Headers.TLS, c.Headers.TLSValue)
	}
}

// forwarded builds the Forwarded header (RFC 7239) with the extensions that
// Fabio has.
func forwarded(before []string, f Forwarding, proto string) string {
	b := make([]byte, 0, 128)
	for _, v := range before {
		b = append(append(b, v...), ", "...)
	}
	b = append(b, "for="...)
	b = appendNode(b, f.Remote.Addr())
	b = append(append(b, "; proto="...), proto...)
	if f.Local.IsValid() {
		b = appendNode(append(b, "; by="...), f.Local.Addr())
	}
	b = append(append(b, "; httpproto="...), strings.ToLower(f.Proto)...)
	if f.TLS != nil {
		b = append(append(b, "; tlsver=tls"...), tlsVersion(f.TLS.Version)...)
		b = append(b, "; tlscipher=0x"...)
		b = strconv.AppendUint(b, uint64(f.TLS.CipherSuite), 16)
	}
	return string(b)
}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "12"
	case tls.VersionTLS13:
		return "13"
	}
	return strconv.FormatUint(uint64(v), 16)
}

// appendNode writes an address as RFC 7239, 6 wants it.
func appendNode(b []byte, a netip.Addr) []byte {
	if a = a.Unmap().WithZone(""); a.Is6() {
		return append(a.AppendTo(append(b, `"[`...)), `]"`...)
	}
	return a.AppendTo(b)
}

// ResponseHeaders turns the header of an instance's response, in place, into
// the one the client gets; upgrade is the protocol of a 101, else "". A
// response that sets the balancer's cookie belongs to one client, so it is
// never stored.
func (c *Core) ResponseHeaders(h Header, d *Decision, upgrade string) {
	removeHopByHop(h)
	if upgrade != "" {
		set(h, "Connection", "Upgrade")
		set(h, "Upgrade", upgrade)
	}
	if d.SetCookie != "" {
		h["Set-Cookie"] = append(h["Set-Cookie"], d.SetCookie)
		set(h, "Cache-Control", "no-store")
	}
	if c.Headers.Debug && d.Target != nil {
		set(h, "X-LB-Service", d.Part.Service)
		set(h, "X-LB-Arm", d.Arm.String())
		set(h, "X-LB-Why", d.Why.String())
		set(h, "X-LB-Instance", d.Target.ID)
	}
}

// removeHopByHop removes the headers of the connection and those that its
// Connection header lists, but none that the request would mean another thing
// without.
func removeHopByHop(h Header) {
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if folded := fold(token); folded != "" && !slices.Contains(kept[:], folded) {
				delete(h, canonical(strings.TrimSpace(token)))
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// canonical writes a header's name as http.CanonicalHeaderKey does, for names
// that are tokens.
func canonical(name string) string {
	b := []byte(name)
	upper := true
	for i, c := range b {
		switch {
		case upper && 'a' <= c && c <= 'z':
			b[i] = c - 'a' + 'A'
		case !upper && 'A' <= c && c <= 'Z':
			b[i] = c - 'A' + 'a'
		}
		upper = c == '-'
	}
	return string(b)
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// stripCookie removes one cookie from the Cookie headers and leaves the bytes
// of the others alone.
func stripCookie(h Header, name string) {
	lines := h["Cookie"]
	out := lines[:0:0]
	for _, line := range lines {
		var keep []string
		found := false
		for pair := range strings.SplitSeq(line, ";") {
			k, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if k == name {
				found = true
			} else {
				keep = append(keep, pair)
			}
		}
		if found {
			line = strings.TrimSpace(strings.Join(keep, ";"))
		}
		if line != "" {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		delete(h, "Cookie")
	} else {
		h["Cookie"] = out
	}
}

func get(h Header, name string) string {
	if v := h[canonical(name)]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func set(h Header, name, value string) { h[canonical(name)] = []string{value} }
