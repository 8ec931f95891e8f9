package qmp_test

import (
	"fmt"

	"github.com/maqet/maqet/qmp"
)

// A wrong device is refused before anything is sent; the error names field and fix.
func ExampleDevice_Validate() {
	d := qmp.Device{ID: "scratch", Disk: &qmp.Disk{Path: "/srv/disk.img"}}
	fmt.Println(d.Validate())
	d.Disk.Format = "raw"
	fmt.Println(d.Validate())
	// Output:
	// configuration: device.disk.format: is not a format (set it to "raw" or "qcow2"; it is never probed)
	// <nil>
}
