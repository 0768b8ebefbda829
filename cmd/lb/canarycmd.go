package main

import (
	"errors"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"serin/registry/consul"
)

func (a *app) canaryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "canary COMMAND",
		GroupID: "canary",
		Short:   "Steer and watch canaries",
		Long: "A canary is steered by a JSON document in Consul's KV store: lb/canary/<service>\nfor one service, lb/canary for all that have none of their own (--all).\n\n" +
			"What writes reads the document, changes what was asked for and nothing else,\nshows the difference and the same as a command of Consul's, writes unless someone\nelse changed it meanwhile, and waits until every balancer has applied it.",
		Example: "  lb canary set web 10%\n  lb canary ramp web --to 100% --over 2h\n  lb canary status web --watch\n  lb canary abort web",
		Args:    a.noCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.canarySetCommand(), a.canaryApplyCommand(), a.canaryEditCommand(), a.canaryDiffCommand(), a.canaryRampCommand(),
		a.canaryPauseCommand(), a.canaryResumeCommand(), a.canaryPromoteCommand(), a.canaryAbortCommand(), a.canaryRetryCommand(), a.canaryDeleteCommand(),
		a.canaryListCommand(), a.canaryShowCommand(), a.canaryStatusCommand(), a.canaryHistoryCommand(), a.canaryExplainCommand(), a.canaryValidateCommand())
	return cmd
}

// documents adds the flags that lead to the documents in Consul; the returned
// function connects, and must be followed by Close of the client.
func (a *app) documents(cmd *cobra.Command) func() (*consul.Client, string, error) {
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token", "canary.prefix")
	return func() (*consul.Client, string, error) {
		cfg, err := load()
		if err != nil {
			return nil, "", err
		}
		client, err := cfg.Registry.Consul.client(hclog.NewNullLogger())
		return client, cfg.Canary.Prefix, err
	}
}

// serviceFlag adds --all; the returned function gives the service that the
// arguments name, "" for --all, and the arguments that follow.
func serviceFlag(cmd *cobra.Command) func(args []string) (service string, rest []string, err error) {
	all := cmd.Flags().Bool("all", false, "the document of all services without their own, instead of SERVICE")
	return func(args []string) (string, []string, error) {
		switch {
		case *all:
			return "", args, nil
		case len(args) == 0 || args[0] == "":
			return "", nil, fail(exitUsage, errors.New("want a service"), "usage: "+cmd.UseLine())
		}
		return args[0], args[1:], nil
	}
}

// onlyService is the service of a command that takes nothing else.
func onlyService(cmd *cobra.Command, service func([]string) (string, []string, error), args []string) (string, error) {
	name, rest, err := service(args)
	if err == nil {
		err = noArgs(cmd, rest)
	}
	return name, err
}

// command is a command line about a service, or all for "".
func command(name, service string) string { return strings.TrimSpace(name + " " + service) }
