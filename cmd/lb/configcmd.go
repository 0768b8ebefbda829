package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		GroupID: "tools",
		Short:   "Show the configuration, or all options",
		Args:    noArgs,
	}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show the configuration as lb run would use it",
		Long:    "Show every option as lb run would use it with the same flags, variables and file.\nSecrets are redacted.",
		Example: "  lb config show --sources\n  lb config show --config lb.yaml --json",
		Args:    noArgs,
	}
	sources := show.Flags().Bool("sources", false, "say where each value came from")
	asJSON := show.Flags().Bool("json", false, "print JSON, with sources")
	load := a.flags(show, "")
	show.RunE = func(*cobra.Command, []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if *asJSON {
			return a.json(cfg.show())
		}
		for _, s := range cfg.show() {
			line := fmt.Sprintf("%s = %s", s.Key, s.Value)
			if *sources {
				line = fmt.Sprintf("%-60s # %s", line, s.Source)
			}
			fmt.Fprintln(a.out, line)
		}
		return nil
	}
	cmd.AddCommand(show, &cobra.Command{
		Use:   "reference",
		Short: "Print all options as Markdown",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { reference(a.out); return nil },
	})
	return cmd
}
