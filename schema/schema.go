// Package schema is the JSON Schema (draft 2020-12) of canary documents: for
// editors, and for whoever writes documents by program. It is made from the Go
// types of package canary and from the tables of docs/CANARY.md.
//
// A schema can say less than canary.Parse checks: docs/CANARY.md names what.
package schema

import _ "embed"

//go:generate go run ./generate

//go:embed canary.json
var canary string

// Canary returns the schema of a canary document.
func Canary() []byte { return []byte(canary) }
