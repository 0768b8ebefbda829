// Package docs is the manual. The pages are kept true by this package's test:
// what they say of options, fields, metrics and messages is compared with the code.
package docs
