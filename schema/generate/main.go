// Command generate writes schema/canary.json; run it by go generate ./schema.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := ".." // go generate runs in schema/
	page, err := os.ReadFile(filepath.Join(root, "docs", "CANARY.md"))
	if err == nil {
		err = os.WriteFile("canary.json", document(string(page)), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
