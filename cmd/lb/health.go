package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"serin/admin"
)

func (a *app) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "health",
		GroupID: "look",
		Short:   "Ask a running balancer whether it lives, for HEALTHCHECK",
		Long:    "Ask the balancer whether it lives, or with --ready whether it may get traffic.\nThe exit code is 0 or 1.",
		Example: "  lb health --ready --quiet\n  HEALTHCHECK CMD [\"/lb\", \"health\", \"--ready\", \"--quiet\"]",
		Args:    noArgs,
	}
	ready := cmd.Flags().Bool("ready", false, "ask whether it may get traffic (routes loaded, not draining)")
	quiet := cmd.Flags().Bool("quiet", false, "print nothing when all is well")
	asJSON := cmd.Flags().Bool("json", false, "print JSON (with --ready)")
	lb := a.apiFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := "/health"
		if *ready {
			path = "/ready"
		}
		status, body, err := lb().do(cmd.Context(), path)
		if e, ok := errors.AsType[*exitError](err); ok { // Docker knows 0 and 1 only
			return fail(exitFailed, e.err, e.hint)
		}
		text := strings.TrimSpace(string(body))
		var st admin.StateJSON
		if *ready && !*asJSON && json.Unmarshal(body, &st) == nil {
			text = st.State
			if why := append(st.NotReady, st.Warnings...); len(why) > 0 {
				text += ": " + strings.Join(why, "; ")
			}
			if st.Following != nil {
				text += "\n" + st.Following.String()
			}
		}
		if status != http.StatusOK {
			if *asJSON {
				fmt.Fprintln(a.out, text)
			}
			return fail(exitFailed, errors.New(text), "")
		}
		if !*quiet {
			fmt.Fprintln(a.out, text)
		}
		return nil
	}
	return cmd
}
