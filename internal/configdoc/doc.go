// Package configdoc makes docs/config.md and maqet.schema.json from the Go types of a
// vm.Config and their comments, so that neither can say anything else than the code.
package configdoc
