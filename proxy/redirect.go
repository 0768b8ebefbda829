package proxy

import (
	"strings"

	"serin/route"
)

// redirect answers with the redirect of a route. Where it would send the client
// to what it just asked for, it is told of the loop instead.
func redirect(o *route.Options, r Request) Answer {
	to := o.Location(r.Host(), r.Path(), r.RawQuery(), r.TLS())
	switch {
	case to == "":
		return Answer{Status: 400, Body: "the host of the request is malformed", Class: ClientError, Reason: ReasonMalformed}
	case asksFor(r, to):
		return Answer{Status: 508, Body: "this redirect leads to itself", Class: Answered, Reason: ReasonRedirectLoop}
	}
	return Answer{Status: o.Redirect.Code, Location: to, Class: Answered, Reason: ReasonRedirect}
}

// asksFor reports whether r is what a client would ask that follows a redirect
// to url: the same scheme as the client came with, host, path and query.
func asksFor(r Request, url string) bool {
	secure := r.Secure()
	url, _, _ = strings.Cut(url, "#") // which clients keep for themselves
	if !strings.HasPrefix(url, "/") {
		scheme, rest, _ := strings.Cut(url, "://")
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if strings.EqualFold(scheme, "https") != secure || route.CleanHost(rest[:end], secure) != route.CleanHost(r.Host(), secure) {
			return false
		}
		url = rest[end:]
	}
	path, query, _ := strings.Cut(url, "?")
	if path == "" {
		path = "/"
	}
	to, err := route.CleanPath(path)
	asked, err2 := route.CleanPath(r.Path())
	return err == nil && err2 == nil && to == asked && query == r.RawQuery()
}
