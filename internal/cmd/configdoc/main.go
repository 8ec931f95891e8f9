// Command configdoc writes docs/config.md and maqet.schema.json from the types of package
// vm. With -check it writes nothing, and fails if they are not current.
//
//	go run ./internal/cmd/configdoc
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/internal/configdoc"
)

func main() {
	root := flag.String("root", ".", "folder of the repository")
	check := flag.Bool("check", false, "only check that the files are current")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "configdoc:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	files, err := configdoc.Files(root)
	if err != nil {
		return err
	}
	var errs []error
	for name, text := range files {
		path := filepath.Join(root, name)
		if !check {
			errs = append(errs, os.WriteFile(path, text, 0o644))
			continue
		}
		have, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(have, text) {
			err = fmt.Errorf("%s is not current: run go generate ./vm", path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
