// Package archtest holds the architecture of docs/ARCHITECTURE.md to the code:
// which package may import which, a comment for every package, and no attic.
package archtest
