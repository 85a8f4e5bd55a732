package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// explainArguments makes the complaints about arguments say which one is
// missing, or too much, and how the command is written.
func explainArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		explainArguments(sub)
	}
	check := cmd.Args
	if check == nil || cmd.HasSubCommands() { // cobra says which commands there are
		return
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			return nil
		}
		var needed, all []string
		for _, word := range strings.Fields(strings.ReplaceAll(c.Use, " | ", "|"))[1:] {
			if word == "[flags]" {
				continue
			}
			if all = append(all, word); !strings.HasPrefix(word, "[") {
				needed = append(needed, word)
			}
		}
		written := strings.Join(append([]string{c.CommandPath()}, all...), " ")
		switch {
		case len(args) < len(needed):
			return fmt.Errorf("%s is missing: `%s`", needed[len(args)], written)
		case len(args) > len(all):
			return fmt.Errorf("%q is one argument too many: `%s`", args[len(all)], written)
		}
		return err
	}
}
