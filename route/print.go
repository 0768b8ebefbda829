package route

import (
	"cmp"
	"fmt"
	"io"
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
				arm := &p.Arms[a]
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
func (t *Table) otherTags(target *Target) (tags []string) {
	for _, tag := range target.Tags {
		if !strings.HasPrefix(strings.TrimSpace(tag), t.prefix) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// printable replaces what would steer a terminal: registrants write names.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
