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

// kept are the headers that no Connection header can take away: without them
// the request would mean another thing.
var kept = [...]string{"host", "content-length", "authorization", "cookie", "content-type", "x-lb-hops"}

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

// appendFold appends a header's name as careless servers read it: in lower
// case, with "-" for all but letters and digits, and no blanks around.
func appendFold(b []byte, name string) []byte {
	name = strings.TrimSpace(name)
	for i := range len(name) {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			b = append(b, c)
		default:
			b = append(b, '-')
		}
	}
	return b
}

func fold(name string) string { return string(appendFold(nil, name)) }

// isOurs reports whether a header, by its folded name, says something of the
// client or of the way its request came: nobody but Serin says it, in whatever
// spelling.
func (h *Headers) isOurs(folded []byte) bool {
	switch string(folded) {
	case "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host",
		"x-forwarded-prefix", "x-forwarded-server", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-scheme",
		"x-forwarded-ssl", "x-forwarded-by", "x-forwarded-client-cert", "x-real-ip", "x-client-ip", "client-ip",
		"x-cluster-client-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-lb-shadow",
		"proxy": // read by CGI programs as their own proxy setting (httpoxy, CVE-2016-5385)
		return true
	}
	if strings.HasPrefix(string(folded), "x-forwarded-tls") {
		return true
	}
	var buf [64]byte
	for _, name := range [...]string{h.ClientIP, h.RequestID, h.TLS, h.Trusted} {
		if name != "" && string(appendFold(buf[:0], name)) == string(folded) {
			return true
		}
	}
	return false
}

// isFraming reports whether a header, by its folded name, decides where a
// message ends, whom it is for or whether it has come back: what looks like it
// and is not is dropped.
func isFraming(folded []byte) bool {
	switch string(folded) {
	case "x-lb-hops", "transfer-encoding", "content-length", "host", "connection", "upgrade", "te", "trailer":
		return true
	}
	return false
}

// ForwardHeaders turns the header of a client's request, in place, into the
// one its instance gets: hop-by-hop headers are removed first, then whatever
// pretends to be ours, then the forwarding headers are added, so that nothing
// the client lists in Connection can take them away. A trusted peer's
// forwarding headers are continued; where it tells the client's address in
// another header, X-Forwarded-For is made of that. X-Forwarded-Host is the host
// that the client asked for.
func (c *Core) ForwardHeaders(h Header, f Forwarding) {
	var came earlier
	if c.trusts(f.Remote.Addr()) {
		came = earlier{
			forwarded: h["Forwarded"], xff: h["X-Forwarded-For"], proto: first(h, "X-Forwarded-Proto"), port: first(h, "X-Forwarded-Port"),
			host: first(h, "X-Forwarded-Host"), prefix: first(h, "X-Forwarded-Prefix"), shadow: first(h, ShadowHeader),
		}
		if name := c.clientHeader(); name != xff { // whoever writes another one need not look at these
			came.forwarded, came.xff = nil, h[name]
		}
	}
	trailers := hasToken(h["Te"], "trailers")
	removeHopByHop(h)
	var buf [64]byte
	for name := range h {
		folded := appendFold(buf[:0], name)
		if c.Headers.isOurs(folded) || isFraming(folded) && !strings.EqualFold(string(folded), name) {
			delete(h, name)
		}
	}
	if f.StripCookie != "" {
		stripCookie(h, f.StripCookie)
	}
	if f.Upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{f.Upgrade}
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	c.addForwarding(h, came, f)
}

// earlier is what a trusted peer says of the way before it.
type earlier struct {
	forwarded, xff                    []string
	proto, port, host, prefix, shadow string
}

func (c *Core) addForwarding(h Header, came earlier, f Forwarding) {
	values := make([]string, 0, 13) // of all headers, in one piece
	add := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	peer := f.Remote.Addr().Unmap().WithZone("")
	client := f.Client.String()
	forwardedFor := client
	if peer != f.Client {
		forwardedFor = peer.String()
	}
	for i := len(came.xff) - 1; i >= 0; i-- {
		forwardedFor = came.xff[i] + ", " + forwardedFor
	}
	proto, port := "http", "80"
	if f.TLS != nil {
		proto, port = "https", "443"
	}
	if p := f.Local.Port(); p != 0 {
		port = strconv.Itoa(int(p))
	}
	add("X-Forwarded-For", forwardedFor)
	add("X-Forwarded-Proto", cmp.Or(came.proto, proto))
	add("X-Forwarded-Port", cmp.Or(came.port, port))
	add("X-Forwarded-Host", cmp.Or(came.host, f.Host))
	if prefix := came.prefix + f.Prefix; prefix != "" {
		add("X-Forwarded-Prefix", prefix)
	}
	if came.shadow != "" {
		add(ShadowHeader, came.shadow)
	}
	add("X-Real-Ip", client)
	add("Forwarded", forwarded(came.forwarded, f, proto))
	if name := c.Headers.ClientIP; name != "" {
		add(canonical(name), client)
	}
	if name := c.clientHeader(); name != xff {
		add(name, client)
	}
	if name := c.Headers.RequestID; name != "" && f.RequestID != "" {
		add(canonical(name), f.RequestID)
	}
	if name := c.Headers.TLS; name != "" && f.TLS != nil {
		add(canonical(name), c.Headers.TLSValue)
	}
	if c.Settings.Self != "" {
		add(hopsHeader, withSelf(h[hopsHeader], c.Settings.Self))
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
// the one the client gets; upgrade is the protocol of a 101, else "". The edits
// of the target's tag come before what Serin adds itself. A response that sets
// the balancer's cookie belongs to one client, so it is never stored.
func (c *Core) ResponseHeaders(h Header, d *Decision, upgrade string) {
	removeHopByHop(h)
	if d.Target != nil && d.Target.Options != nil {
		c.edit(h, d.Target.Options.ResponseHeaders, false)
	}
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if d.SetCookie != "" {
		h["Set-Cookie"] = append(h["Set-Cookie"], d.SetCookie)
		h["Cache-Control"] = []string{"no-store"}
		for _, name := range cdnControls { // which caches that know them obey instead
			delete(h, name)
		}
	}
	if c.Headers.Debug && d.Target != nil {
		h["X-Lb-Service"] = []string{d.Part.Service}
		h["X-Lb-Arm"] = []string{d.Arm.String()}
		h["X-Lb-Why"] = []string{d.Why.String()}
		h["X-Lb-Instance"] = []string{d.Target.ID}
		if d.Panic {
			h["X-Lb-Panic"] = []string{"1"}
		}
	}
}

// cdnControls are what shared caches prefer to Cache-Control (RFC 9213).
var cdnControls = [...]string{"Cdn-Cache-Control", "Surrogate-Control"}

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
	start := true
	for i := range len(name) {
		c := name[i]
		if start && 'a' <= c && c <= 'z' || !start && 'A' <= c && c <= 'Z' {
			return recase(name)
		}
		start = c == '-'
	}
	return name
}

func recase(name string) string {
	b := []byte(strings.ToLower(name))
	for i, c := range b {
		if (i == 0 || b[i-1] == '-') && 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
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

func first(h Header, canonical string) string {
	if v := h[canonical]; len(v) > 0 {
		return v[0]
	}
	return ""
}
