package route

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseRedirect reads code,url. The URL is http, https, or an absolute path on
// the same host: nothing that a browser would run, and nothing relative.
func parseRedirect(o *Options, v string) error {
	code, url, ok := strings.Cut(v, ",")
	n, err := strconv.Atoi(code)
	switch {
	case !ok:
		return fmt.Errorf("redirect %s: want code,url", brief(v))
	case err != nil || n < 300 || n > 399 || strconv.Itoa(n) != code:
		return fmt.Errorf("redirect code %s is not from 300 to 399", brief(code))
	}
	for i := range len(url) {
		if c := url[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\"<>^{|}`+"`", c) >= 0 {
			return fmt.Errorf("redirect url %s: %q must be percent-encoded", brief(url), c)
		}
	}
	if !strings.HasPrefix(url, "/") {
		_, authority, _ := splitURL(url)
		if authority == "" {
			return fmt.Errorf("redirect url %s: want http://…, https://… or a path that starts with /", brief(url))
		}
		if authority = strings.Replace(authority, "$host", "host", 1); authority != "host" {
			if _, _, err := parseHost(authority, false); err != nil {
				return fmt.Errorf("redirect url %s: %w", brief(url), err)
			}
		}
	} else if strings.HasPrefix(url, "//") {
		return errors.New("redirect url starts with //: that is another host; write https://host/path")
	}
	o.Redirect = &Redirect{Code: n, URL: url}
	return nil
}

// splitURL cuts an http or https URL into "https://", authority and the rest;
// authority is empty when it is neither.
func splitURL(url string) (scheme, authority, rest string) {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(url) > len(scheme) && strings.EqualFold(url[:len(scheme)], scheme) {
			rest := url[len(scheme):]
			end := len(rest)
			for _, sep := range [...]string{"/", "?", "#", "$path"} {
				if i := strings.Index(rest, sep); i >= 0 {
					end = min(end, i)
				}
			}
			return url[:len(scheme)], rest[:end], rest[end:]
		}
	}
	return "", "", url
}

// Location returns the Location header of o's redirect for a request, or ""
// when the URL needs the request's host and that is not a valid one (answer
// 400 then). As in Fabio, "$path" is the path after Strip and Prepend, brings
// the query with it unless the URL has its own, and takes the place of a slash
// in front of it. The path is the clean one, so that a request for "//evil"
// cannot turn a redirect on the same host into one to another.
func (o *Options) Location(host, rawPath, rawQuery string, tls bool) string {
	scheme, authority, rest := splitURL(o.Redirect.URL)
	if strings.Contains(authority, "$host") {
		name := CleanHost(host, tls)
		if authority != "$host" {
			name, _ = splitPort(name)
		}
		if _, _, err := parseHost(name, false); err != nil {
			return ""
		}
		authority = strings.Replace(authority, "$host", name, 1)
	}
	if !strings.Contains(rest, "$path") {
		return scheme + authority + rest
	}
	path, ok := cleanPath(rawPath)
	if !ok {
		return ""
	}
	rest = strings.Replace(rest, "/$path", "$path", 1)
	rest = strings.Replace(rest, "$path", o.Rewrite(path), 1)
	url, fragment, ok := strings.Cut(rest, "#")
	if rawQuery != "" && !strings.Contains(url, "?") {
		url += "?" + escapeQuery(rawQuery)
	}
	if ok {
		url += "#" + fragment
	}
	return scheme + authority + url
}

// escapeQuery encodes what must not stand in a header or a URL.
func escapeQuery(q string) string {
	var b strings.Builder
	for i := range len(q) {
		if c := q[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\' || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
