package errors_test

import (
	"fmt"

	"github.com/maqet/maqet/errors"
)

func Example() {
	var err error = &errors.QMPError{VM: "web", Command: "device_del", Class: "DeviceNotFound", Desc: "Device 'nic0' not found"}

	fmt.Println(errors.Is(err, errors.ErrQMP))
	var q *errors.QMPError
	if errors.As(err, &q) {
		fmt.Println(q.Class)
	}
	fmt.Println(err)
	// Output:
	// true
	// DeviceNotFound
	// QMP device_del "web": DeviceNotFound: Device 'nic0' not found
}
