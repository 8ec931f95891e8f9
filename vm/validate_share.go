package vm

import "fmt"

func (v *validator) shares(shares []Share) {
	for i := range shares {
		v.add(fmt.Sprintf("shares[%d]", i), "", "shared folders are not implemented yet", "copy files with guest.Manager.CopyTo instead")
	}
}
