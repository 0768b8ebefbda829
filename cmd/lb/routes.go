package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"serin/admin"
	"serin/proxy"
)

func (a *app) routesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "routes",
		GroupID: "look",
		Short:   "Show the routing table",
		Long: "Show the routing table in matching order as route commands, which lb routes --routes\nreads back, as a table for people, or as JSON.\n\n" +
			"The running balancer is asked, unless --catalog or --routes name files: then the\noptions are those that lb run would have here.",
		Example: "  lb routes --table\n  lb routes --service web --json\n  lb routes --catalog catalog.json --routes commands.txt",
		Args:    noArgs,
	}
	service := cmd.Flags().String("service", "", "only routes of this `service`")
	asTable := cmd.Flags().Bool("table", false, "print a table for people")
	asJSON := cmd.Flags().Bool("json", false, "print JSON: a list of instances, with route and share")
	lb := a.apiFlag(cmd)
	files := a.offlineFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("service", func(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		return a.completeService(cmd, nil, text)
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asTable && *asJSON {
			return fail(exitUsage, errors.New("--table and --json contradict each other"), "")
		}
		here, err := files.given(cmd)
		if err != nil {
			return err
		}
		get, none := a.routesOf(cmd.Context(), lb, *service)
		if here {
			if get, none, err = files.routesOf(*service); err != nil {
				return err
			}
		}
		format := "commands"
		switch {
		case *asTable:
			format = ""
		case *asJSON:
			format = "targets"
		}
		text, err := get(format)
		if err != nil {
			return err
		}
		var list []json.RawMessage // of routes, or of their instances
		if format == "commands" {
			_, err = a.out.Write(text)
		} else if err = json.Unmarshal(text, &list); err == nil && *asJSON {
			err = a.json(json.RawMessage(text))
		} else if err == nil && len(list) > 0 {
			err = writeRoutes(a.out, text)
		}
		if err == nil && len(list) == 0 && len(bytes.TrimSpace(text)) <= len("[]") {
			err = none()
		}
		return err
	}
	return cmd
}

// routesOf returns how to get routes of the running balancer in a format of its
// API, and what to say where there is none.
func (a *app) routesOf(ctx context.Context, lb func() *adminAPI, service string) (get func(format string) ([]byte, error), none func() error) {
	get = func(format string) ([]byte, error) {
		b, path := lb(), "/api/v1/routes?service="+url.QueryEscape(service)+"&format="+format
		status, text, err := b.do(ctx, path)
		if err == nil {
			err = b.refusal(path, status, text)
		}
		return text, err
	}
	return get, func() error { return a.noRoutes(ctx, lb(), service) }
}

// routesOf does that for the table of the files, which answers as a balancer
// does that has this table.
func (o *offline) routesOf(service string) (get func(format string) ([]byte, error), none func() error, err error) {
	t, cfg, _, err := o.table()
	if err != nil {
		return nil, nil, err
	}
	get = func(format string) ([]byte, error) {
		for _, p := range t.Problems() {
			if format != "targets" { // whoever wants JSON may read both outputs as one
				fmt.Fprintf(o.err, "problem: %s: %s\n", safe(proxy.ProblemPlace(p)), safe(p.Error))
			}
		}
		var b bytes.Buffer
		err := admin.WriteRoutes(&b, t, cfg.Registry.Consul.TagPrefix, service, format)
		return b.Bytes(), err
	}
	none = func() error {
		if service != "" {
			return fail(exitNotFound, fmt.Errorf("no route leads to a service %q", service), "")
		}
		fmt.Fprintln(o.err, "no routes")
		return nil
	}
	return get, none, nil
}

// writeRoutes writes routes, as the API has them, as a table for people.
func writeRoutes(out io.Writer, text []byte) error {
	var routes []admin.Route
	if err := json.Unmarshal(text, &routes); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROUTE\tSERVICE\tARM\tINSTANCE\tADDRESS\tSHARE")
	for _, r := range routes {
		for _, p := range r.Parts {
			for _, t := range p.Targets {
				share := "critical"
				if t.Ready {
					share = percent(t.Share)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", safe(r.Host+r.Path), safe(p.Service), t.Arm, safe(t.ID), safe(t.Addr), share)
			}
			if len(p.Targets) == 0 {
				fmt.Fprintf(w, "%s\t%s\t\t(none)\t\t%s\n", safe(r.Host+r.Path), safe(p.Service), "503")
			}
		}
	}
	return w.Flush()
}

// safe replaces what would steer a terminal: registrants write names.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// noRoutes says why there are none; that a service has none is an error.
func (a *app) noRoutes(ctx context.Context, lb *adminAPI, service string) error {
	var st admin.Status
	if err := lb.get(ctx, "/api/v1/status", &st); err != nil {
		return err
	}
	why := "no healthy or unhealthy instance carries a tag such as urlprefix-/"
	if st.Routes == 0 && len(st.NotReady) > 0 {
		why = "the balancer is not ready: " + strings.Join(st.NotReady, "; ")
	}
	if service == "" {
		fmt.Fprintln(a.err, "no routes: "+why)
		return nil
	}
	if st.Routes > 0 {
		names, _ := lb.services(ctx)
		return fail(exitNotFound, fmt.Errorf("no route leads to a service %q%s", service, didYouMean(service, names)), "lb routes shows those of all")
	}
	return fail(exitNotFound, errors.New("no route leads to a service "+strconv.Quote(service)+": "+why), "")
}
