package qmp

import (
	"fmt"
	"testing"

	"github.com/digitalocean/go-libvirt"
	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/qmptest"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// What libvirt says itself is never taken for QEMU's answer.
func TestFromMonitorErrorsOfLibvirt(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		kind *errors.Kind
		lost bool // for good
	}{
		"no such domain": {libvirt.Error{Code: uint32(libvirt.ErrNoDomain)}, errors.ErrQMPConnection, true},
		"not running":    {libvirt.Error{Code: uint32(libvirt.ErrOperationInvalid)}, errors.ErrQMPConnection, true},
		"monitor lost":   {libvirt.Error{Code: uint32(libvirt.ErrSystemError)}, errors.ErrQMPConnection, true},
		"wrapped":        {fmt.Errorf("run: %w", libvirt.Error{Code: uint32(libvirt.ErrNoDomain)}), errors.ErrQMPConnection, true},
		"interrupted":    {libvirt.ErrInterrupted, errors.ErrQMPConnection, true},
		"anything else":  {libvirt.Error{Code: uint32(libvirt.ErrInternalError)}, errors.ErrQMPConnection, false},
		"domain is busy": {libvirt.Error{Code: uint32(libvirt.ErrOperationTimeout)}, errors.ErrQMPTimeout, false},
		"QEMU":           {errors.New("no"), errors.ErrQMPCommand, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := FromMonitor(qmptest.NewMonitor(func(goqemu.Command) (any, error) { return nil, tc.err }))
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Execute(t.Context(), "query-status", nil)
			require.Equal(t, tc.kind, errors.KindOf(err))
			if tc.kind != errors.ErrQMPCommand {
				require.ErrorIs(t, err, tc.err, "the cause is kept")
			}
			if tc.lost {
				closed(t, c.Done())
			} else {
				require.NoError(t, c.Err())
			}
		})
	}
}
