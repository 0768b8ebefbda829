package canary

import (
	"cmp"
	"slices"
	"strings"
)

// common is what the document of all services without one of their own is called.
const common = "*"

// Label is what a service is called in metrics, logs, addresses and the keys of
// states: its name, or "*" for "", the common document.
func Label(service string) string { return cmp.Or(service, common) }

// Unlabel is the service that a label is of: "" for "*" and for "".
func Unlabel(label string) string {
	if label == common {
		return ""
	}
	return label
}

// KeyOf is the key of a service's document, "" being the common one at prefix.
func KeyOf(prefix, service string) string {
	if service == "" {
		return prefix
	}
	return prefix + "/" + service
}

// JoinReasons joins reasons of which any may be missing.
func JoinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
}
