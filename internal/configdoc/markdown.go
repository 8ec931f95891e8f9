package configdoc

import (
	_ "embed"
	"fmt"
	"reflect"
	"strings"
)

// intro is what docs/config.md says before the keys.
//
//go:embed intro.md
var intro string

// Markdown returns docs/config.md.
func Markdown(sections []Section) []byte {
	var b strings.Builder
	b.WriteString("<!-- Made by internal/cmd/configdoc; change internal/configdoc/intro.md or the comments in package vm, then: go generate ./vm -->\n\n")
	b.WriteString(intro)
	for _, s := range sections {
		title := "`" + s.Place + "`"
		if s.Place == "" {
			title = "All keys"
		}
		fmt.Fprintf(&b, "\n### %s\n\n", title)
		if s.Place != "" {
			fmt.Fprintf(&b, "%s\n\n", cell(s.Comment))
		}
		b.WriteString("| key | type | default | example | |\n| --- | --- | --- | --- | --- |\n")
		for _, k := range s.Keys {
			fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.Name, typeName(k.Type), cell(k.Default), k.Example, cell(meaning(k)))
		}
	}
	return []byte(b.String())
}

// meaning is a key's comment, and where its own keys are.
func meaning(k Key) string {
	text := k.Comment
	if element(k.Type).Kind() == reflect.Struct {
		text = strings.TrimSpace(text + " Its keys are [below](#" + anchor(k) + ").")
	}
	return text
}

// anchor is the name that GitHub gives to a section's title.
func anchor(k Key) string {
	return strings.NewReplacer("[", "", "]", "", ".", "").Replace(k.Place)
}

// cell keeps a text in one cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(text)
}
