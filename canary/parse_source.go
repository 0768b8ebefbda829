package canary

import (
	"net/url"
	"strings"
)

// configServer reads the address of a source.
func (p *parser) configServer(n node) string {
	const hint = "write consul://host:port/key, https://host/path or file:/path"
	s := p.string(n, "an address like consul://host:port/key, https://host/path or file:/path")
	if n.kind != '"' {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || !strings.HasPrefix(s, u.Scheme+":") {
		p.fail(n, hint, `%s "%s" is not an address`, n.path, short(s))
		return s
	}
	switch u.Scheme {
	case "consul":
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
			p.fail(n, "write consul://host:port/key", `%s "%s" is not an address of a key`, n.path, short(s))
		}
	case "http", "https":
		if u.User != nil || u.Fragment != "" || u.Hostname() == "" {
			p.fail(n, "write "+u.Scheme+"://host:port/path, without credentials", `%s "%s" is not an address of a document`, n.path, short(u.Redacted()))
		}
	case "file":
		if u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.HasSuffix(u.Path, "/") {
			p.fail(n, "write file:/path", `%s "%s" is not the whole path of a file`, n.path, short(s))
		}
	default:
		p.fail(n, hint, `%s "%s": %s: is not a known kind of source`, n.path, short(s), short(u.Scheme))
	}
	return s
}
