package main

import (
	"fmt"
	"time"

	"github.com/maqet/maqet/vm"
)

// show prints the steps of the start as they begin and end.
func show(s vm.Step) {
	if s.Duration == 0 {
		fmt.Printf("  %-10s ...\r", s.Name)
		return
	}
	fmt.Printf("  %-10s %8v\n", s.Name, s.Duration.Round(time.Millisecond/10))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
