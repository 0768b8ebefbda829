package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"serin/proxy"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain URL",
		GroupID: "look",
		Short:   "Tell what becomes of a request, and why",
		Long: "Tell which route, arm and instance a request would get, what the instance would be\nasked, and why no other. Nothing is sent to an instance, and no limit counts it.\n\n" +
			"The running balancer is asked, unless --catalog or --routes name files: then the\noptions are those that lb run would have here.\n\n" +
			"Where chance decides, the draw in the middle is shown. The exit code is 3 when no\nroute matches.",
		Example: "  lb explain shop.test/cart\n  lb explain https://shop.test/ -H 'Cookie: uid=7' --from 10.1.2.3\n" +
			"  lb explain shop.test/ --catalog catalog.json --routes commands.txt --json",
		Args: usage(cobra.ExactArgs(1)),
	}
	var headers []string
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "`'Name: value'` of the request (repeatable, -H for short); Host replaces that of URL")
	from := cmd.Flags().String("from", "", "`IP` address of the peer; 127.0.0.1 without it")
	tls := cmd.Flags().Bool("tls", false, "the request comes over TLS, as with https:// in URL")
	method := cmd.Flags().String("method", "GET", "`METHOD` of the request")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	lb := a.apiFlag(cmd)
	files := a.offlineFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ask := proxy.Ask{URL: args[0], Method: *method, Headers: proxy.AskHeaders{}, From: *from, TLS: *tls}
		for _, line := range headers {
			if err := ask.Headers.Add(line); err != nil {
				return fail(exitUsage, err, "-H 'Name: value'")
			}
		}
		if _, err := ask.Request(&proxy.Core{}); err != nil {
			return fail(exitUsage, err, "usage: "+cmd.UseLine())
		}
		here, err := files.given(cmd)
		if err != nil {
			return err
		}
		var e proxy.Explanation
		if here {
			e, err = files.explain(ask)
		} else {
			e, err = lb().explain(cmd, ask)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			err = a.json(e)
		} else {
			err = writeExplanation(a.out, e)
		}
		if err == nil && e.Route == nil {
			err = fail(exitNotFound, errors.New(""), "") // it has been said
		}
		return err
	}
	return cmd
}

// explain answers from the files.
func (o *offline) explain(ask proxy.Ask) (proxy.Explanation, error) {
	t, _, core, err := o.table()
	if err != nil {
		return proxy.Explanation{}, err
	}
	in := proxy.ExplainInput{Table: t, Draw: proxy.Middle(time.Now())}
	in.Use(core)
	if in.Request, err = ask.Request(core); err != nil {
		return proxy.Explanation{}, fail(exitUsage, err, "")
	}
	return proxy.Explain(in), nil
}

// explain asks the running balancer.
func (b *adminAPI) explain(cmd *cobra.Command, ask proxy.Ask) (e proxy.Explanation, err error) {
	const path = "/api/v1/explain"
	question, err := json.Marshal(ask)
	if err != nil {
		return e, err
	}
	status, body, err := b.send(cmd.Context(), http.MethodPost, path, question)
	if err == nil {
		err = b.refusal(path, status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	return e, err
}

// writeExplanation writes e for people.
func writeExplanation(out io.Writer, e proxy.Explanation) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, safe(fmt.Sprintf(format, args...)))
	}
	answer := fmt.Sprintf("%d %s", e.Status, e.Answer)
	if e.Target == "" {
		if e.Location != "" {
			answer = fmt.Sprintf("%d to %s", e.Status, e.Location)
		}
		if e.RetryAfter > 0 {
			answer += fmt.Sprintf(", Retry-After: %d", e.RetryAfter)
		}
		row("answer", "%s", strings.TrimSpace(answer))
	}
	if r := e.Route; r != nil {
		row("route", "%s%s (%s)", r.Host, r.Path, r.Source)
		row("service", "%s", e.Service)
	}
	if e.Target != "" {
		instance := e.Target
		if e.Instance != e.Target { // that of a route command has no ID
			instance += " " + e.Instance
		}
		row("instance", "%s", instance)
		row("is asked", "%s (Host: %s)", e.URL, e.Host)
	}
	if e.Mirror != "" {
		row("copied to", "%s", e.Mirror)
	}
	if e.Why != "" && e.Why != e.Answer {
		row("because", "%s", e.Why)
	}
	w.Flush()
	table := func(title string, rows [][]string, more string) {
		if len(rows) == 0 && more == "" {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, r := range rows {
			for i := range r {
				r[i] = safe(r[i])
			}
			fmt.Fprintf(w, "  %s\n", strings.Join(r, "\t"))
		}
		w.Flush()
		b.WriteString(more)
	}
	var weights, others, problems [][]string
	for _, t := range e.Weights {
		weights = append(weights, []string{t.Target, percent(t.Share)})
	}
	for _, c := range e.Considered {
		others = append(others, []string{strings.TrimSpace(c.Host + c.Path + " " + c.When), c.Service, c.Why, c.Source})
	}
	for _, p := range e.Problems {
		problems = append(problems, []string{p.Where, p.Error})
	}
	more := ""
	if e.Others > 0 {
		more = fmt.Sprintf("  %d more, whose host or path does not match\n", e.Others)
	}
	table("instances of the route, and their shares of its requests", weights, "")
	table("not these routes", others, more)
	table("problems", problems, "")
	_, err := io.WriteString(out, b.String())
	return err
}
