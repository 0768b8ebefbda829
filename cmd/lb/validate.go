package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"serin/canary"
)

const standardInput = "standard input"

// verdict is what lb validate says of one argument.
type verdict struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"` // config or canary
	OK     bool     `json:"ok"`
	Errors []string `json:"errors,omitempty"`
}

func (a *app) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "validate [lb.yaml | canary.json | - | consul:KEY]...",
		GroupID: "tools",
		Short:   "Check a configuration or a canary document; the exit code is 0 or 2",
		Long: "Check files without starting anything: a configuration (.yaml, .yml), a canary\ndocument (.json), either on standard input (-), or a canary document in Consul\n" +
			"(consul:KEY). Without arguments, check the configuration that lb run would use here.\nlb overrides validate checks route commands.",
		Example: "  lb validate lb.yaml\n  lb validate canary.json && consul kv put lb/canary/web @canary.json\n  lb validate consul:lb/canary/web",
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var out []verdict
		var errs []error
		hint := ""
		for _, arg := range args {
			kind, err := a.validate(cmd.Context(), arg, load)
			if e, ok := errors.AsType[*exitError](err); ok && e.code != exitUsage {
				return err
			}
			if arg == "-" {
				arg = standardInput
			} else if err != nil && kind == "config" && !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(arg)) {
				hint = "a configuration is YAML, such as proxy.addr: :9999 (docs/FABIO.md tells how to get there from Fabio's properties); lb validate --help lists what else is checked"
			}
			out, errs = append(out, judge(arg, kind, err)), append(errs, err)
		}
		if len(args) == 0 {
			_, err := load()
			out, errs = append(out, judge("configuration", "config", err)), append(errs, err)
		}
		if *asJSON {
			if err := a.json(out); err != nil {
				return err
			}
		}
		for _, v := range out {
			if v.OK && !*asJSON {
				fmt.Fprintf(a.out, "%s: ok\n", v.Name)
			}
		}
		return fail(exitUsage, together(errs), hint)
	}
	return cmd
}

func judge(name, kind string, err error) verdict {
	v := verdict{Name: name, Kind: kind, OK: err == nil}
	if err != nil {
		for _, e := range flatten(err) {
			v.Errors = append(v.Errors, e.Error())
		}
	}
	return v
}

// validate checks one argument and says what it was taken for.
func (a *app) validate(ctx context.Context, arg string, options func() (Config, error)) (kind string, err error) {
	if key, ok := strings.CutPrefix(arg, "consul:"); ok {
		cfg, err := options()
		if err != nil {
			return "canary", err
		}
		c, err := cfg.Registry.Consul.client(hclog.NewNullLogger())
		if err != nil {
			return "canary", err
		}
		pair, found, err := c.Get(ctx, key)
		switch {
		case err != nil:
			return "canary", consulError(err)
		case !found:
			return "canary", fail(exitNotFound, fmt.Errorf("no key %s in Consul at %s", key, c.Addr()), "consul kv get -keys "+cfg.Canary.Prefix+" lists what there is")
		}
		_, err = canary.Parse(key, pair.Value)
		return "canary", err
	}
	var data []byte
	name := arg
	if arg == "-" {
		name = standardInput
		data, err = io.ReadAll(a.in)
	} else {
		data, err = os.ReadFile(arg)
	}
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(arg, ".json") || arg == "-" && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		_, err = canary.Parse(name, data)
		return "canary", err
	}
	_, err = load(given{file: data, name: name})
	return "config", err
}
