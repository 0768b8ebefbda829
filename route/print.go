package route

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Print writes the table for people, a line per target in matching order: the
// route, its service, the instance, its address, its arm, the fixed weight
// ("-" when it has none), the expected share of the route's requests in per
// cent ("critical" when Consul lets it have none), the instance's other tags,
// and the options of its route tag. A route without a target has one line.
func (t *Table) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(fields ...string) {
		for i := range fields {
			fields[i] = printable(cmp.Or(fields[i], "-"))
		}
		fmt.Fprintln(tw, strings.Join(fields, "\t")) // errors show in Flush
	}
	row("ROUTE", "SERVICE", "INSTANCE", "ADDRESS", "ARM", "WEIGHT", "SHARE", "TAGS", "OPTIONS")
	for r := range t.Routes() {
		n := 0
		for _, p := range r.Parts {
			shares := p.Shares()
			for a := range p.Arms {
				arm := p.Arms[a]
				print := func(target *Target, share string) {
					weight, options := "", *target.Options
					if target.Weight > 0 {
						weight = strconv.FormatFloat(target.Weight, 'g', -1, 64)
					}
					options.Weight = -1
					row(r.Host+r.Path, p.Service, target.ID, target.Addr, ArmName(a).String(), weight, share,
						strings.Join(t.otherTags(target), ","), strings.TrimSpace(options.String()))
					n++
				}
				for i, target := range arm.Ready {
					print(target, strconv.FormatFloat(100*p.Share*shares[a]*arm.Share(i), 'f', 2, 64))
				}
				for _, target := range arm.Critical {
					print(target, "critical")
				}
			}
		}
		if n == 0 {
			for _, p := range r.Parts {
				row(r.Host+r.Path, p.Service, "", "", "", "", "", "", "")
			}
		}
	}
	return tw.Flush()
}

// otherTags returns the tags of a target that are no routes.
func (t *Table) otherTags(target *Target) []string { return plainTags(target.Tags, t.prefix) }

// printable replaces what would steer a terminal: registrants write names.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// PrintCommands writes the table in the route command language, a route add for
// every target that is ready, in matching order: what ParseCommands reads back
// as an equal table. What cannot be said in a command, and is not the same
// without what the catalog knows, stands in comments: targets that are not
// ready, routes without one, names with blanks or quotes. Canary documents are
// not in it.
func (t *Table) PrintCommands(w io.Writer) error {
	out := bufio.NewWriter(w) // errors show in Flush
	for r := range t.Routes() {
		if !r.Carried() {
			fmt.Fprintf(out, "# %s: the traffic of this route is not carried by this version\n", printable(r.Host+r.Path))
		} else if names := r.notCarried(); len(names) > 0 {
			fmt.Fprintf(out, "# %s: not carried out by this version: %s\n", printable(r.Host+r.Path), strings.Join(names, ", "))
		}
		n := 0
		for _, p := range r.Parts {
			var lines []string
			for a := range p.Arms {
				for _, target := range p.Arms[a].Ready {
					lines = append(lines, t.command(r, p, target))
				}
				for _, target := range p.Arms[a].Critical {
					lines = append(lines, "# critical: "+strings.TrimPrefix(t.command(r, p, target), "# "))
				}
			}
			slices.Sort(lines) // arms come from documents
			for _, line := range slices.Compact(lines) {
				fmt.Fprintln(out, printable(line))
				n++
			}
		}
		if n == 0 {
			for _, p := range r.Parts {
				fmt.Fprintf(out, "# no target: %s %s\n", printable(p.Service), printable(r.Host+r.Path))
			}
		}
	}
	return out.Flush()
}

// notCarried returns the options of the route's targets that this version does
// not carry out.
func (r *Route) notCarried() (names []string) {
	for t := range r.Targets() {
		for _, name := range t.Options.NotCarried() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// command returns the target as a route add, or as a comment when no command
// says the same.
func (t *Table) command(r *Route, p *Part, target *Target) string {
	c := Command{
		Op: RouteAdd, Service: p.Service, Rule: Rule{Host: r.Host, Path: r.Path, Options: *target.Options},
		Addr: target.Addr, Weight: target.Weight,
	}
	for _, tag := range t.otherTags(target) {
		if strings.TrimSpace(tag) == tag && tag != "" && !strings.ContainsAny(tag, `",`) && !strings.ContainsFunc(tag, unicode.IsControl) {
			c.Tags = append(c.Tags, tag)
		}
	}
	c.Rule.Options.Weight = c.Weight
	switch o := target.Options; {
	case o.Redirect != nil && o.Redirect.URL == target.Addr: // of a command that names no instance
		c.Dst, c.Addr = target.Addr, ""
	case o.Proto == HTTP:
		c.Dst = "http://" + c.Addr + "/"
	default:
		c.Dst = o.Proto.String() + "://" + c.Addr
	}
	line := c.String()
	if again, problems := ParseCommands("", line); len(problems) > 0 || len(again) != 1 || again[0].String() != line || printable(line) != line {
		return "# no command can say: " + line
	}
	return line
}
