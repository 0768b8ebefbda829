package admin

import (
	"fmt"
	"io"

	"serin/route"
)

// WriteCommands writes the routes of a table as route commands, which build the
// same table where nothing else is known: a line per instance in matching
// order, of one service unless that is "". What Consul lets have no requests is
// a comment.
func WriteCommands(w io.Writer, t *route.Table, tagPrefix, service string) {
	for rt := range t.Routes() {
		for _, p := range rt.Parts {
			if service != "" && p.Service != service {
				continue
			}
			for a := range p.Arms {
				for _, target := range p.Arms[a].Ready {
					fmt.Fprintln(w, commandOf(rt, target, tagPrefix))
				}
				for _, target := range p.Arms[a].Critical {
					fmt.Fprintf(w, "# critical: %s\n", commandOf(rt, target, tagPrefix))
				}
			}
		}
	}
}

func commandOf(r *route.Route, t *route.Target, tagPrefix string) string {
	o := *t.Options
	o.Redirect = nil
	dst, _ := fabioForm(&route.Target{Addr: t.Addr, Options: &o})
	c := route.Command{
		Op: route.RouteAdd, Service: t.Service, Rule: route.Rule{Host: r.Host, Path: r.Path, Options: *t.Options},
		Dst: dst, Addr: t.Addr, Weight: t.Weight,
	}
	if tags := otherTags(t, tagPrefix); len(tags) > 0 {
		c.Tags = tags
	}
	return c.String()
}
