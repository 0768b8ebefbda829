package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"serin/admin"
)

func (a *app) routesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "routes",
		GroupID: "look",
		Short:   "Show the routing table of a running balancer",
		Example: "  lb routes\n  lb routes --service web --json",
		Args:    noArgs,
	}
	service := cmd.Flags().String("service", "", "only routes of this `service`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, as /api/v1/routes answers")
	lb := a.apiFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("service", func(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		return a.completeService(cmd, nil, text)
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var raw json.RawMessage
		lb := lb()
		if err := lb.get(cmd.Context(), "/api/v1/routes?service="+url.QueryEscape(*service), &raw); err != nil {
			return err
		}
		var routes []admin.Route
		if err := json.Unmarshal(raw, &routes); err != nil {
			return err
		}
		if *asJSON {
			if err := a.json(raw); err != nil {
				return err
			}
		}
		switch {
		case len(routes) == 0:
			return a.noRoutes(cmd.Context(), lb, *service)
		case *asJSON:
			return nil
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ROUTE\tSERVICE\tARM\tINSTANCE\tADDRESS\tSHARE")
		for _, r := range routes {
			for _, p := range r.Parts {
				for _, t := range p.Targets {
					share := "critical"
					if t.Ready {
						share = percent(t.Share)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Host+r.Path, p.Service, t.Arm, t.ID, t.Addr, share)
				}
				if len(p.Targets) == 0 {
					fmt.Fprintf(w, "%s\t%s\t\t(none)\t\t%s\n", r.Host+r.Path, p.Service, "503")
				}
			}
		}
		return w.Flush()
	}
	return cmd
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
