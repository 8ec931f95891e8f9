package qmp_test

import (
	"fmt"
	"log"

	"github.com/maqet/maqet/qmp"
)

// A layout of one's own: a built-in one, and what is different.
func ExampleParseLayout() {
	layout, err := qmp.ParseLayout([]byte(`{
		"name": "us-intl",
		"base": "us",
		"keys": {"'": "apostrophe spc", "é": "apostrophe e", "ß": "alt_r-s", "€": "alt_r-5"}
	}`))
	if err != nil {
		log.Fatal(err)
	}
	typed := layout.Characters()
	fmt.Println(len(typed), string(typed[len(typed)-3:]))

	_, err = qmp.ParseLayout([]byte(`{"base": "us", "keys": {"€": "altgr-fife"}}`))
	fmt.Println(err)
	// Output:
	// 102 ßé€
	// configuration: keys["€"] "altgr-fife": no key is called "fife" (did you mean find, shift, e?)
}
