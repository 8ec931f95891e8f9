package maqet

import (
	"fmt"
	"path/filepath"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// anyHost is the Config.Backend of a VM that is to run on whatever host has room.
const anyHost = "any"

// libvirtHost is a backend that an option asks for.
type libvirtHost struct {
	name, uri string
	placed    bool // anyHost may mean it
}

// addLibvirts makes the backends that the options ask for, and what chooses among them.
func (m *Maqet) addLibvirts(s *settings, files storage.Registry) (placers map[string]vm.Placer, _ error) {
	var choice []*libvirt.Backend
	for i, h := range s.libvirts {
		if problem := h.check(s.backends); problem != nil {
			problem.Field = fmt.Sprintf("libvirt[%d].name", i)
			return nil, &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, Problems: []errors.Problem{*problem}}
		}
		b, err := libvirt.New(libvirt.Options{URI: h.uri, Name: h.name, LogDir: filepath.Join(s.data, "vms"), Files: files, Logger: s.logger})
		if err != nil {
			return nil, errors.Wrap(errors.ErrInvalidConfiguration, "add libvirt host "+h.name, "", err)
		}
		s.backends[h.name] = b
		m.own("backend "+h.name, b.Close)
		if h.placed {
			choice = append(choice, b)
		}
	}
	if len(choice) == 0 {
		return nil, nil
	}
	return map[string]vm.Placer{anyHost: libvirt.NewHosts(choice...)}, nil
}

// check says what is wrong with the name of a host, nil if nothing is.
func (h libvirtHost) check(taken map[string]vm.Backend) *errors.Problem {
	p := errors.Problem{Value: h.name, Fix: "give each host a name of its own"}
	switch {
	case h.name == "":
		p.Message = "is empty"
	case h.name == vm.DefaultBackend, h.name == anyHost:
		p.Message = "means something else in Config.Backend"
	case taken[h.name] != nil:
		p.Message = "is the name of another backend"
	case vm.Config{Backend: h.name}.Validate() != nil:
		p.Message, p.Fix = "is no name that Config.Backend can have", "use letters, digits, '.', '_' and '-'"
	default:
		return nil
	}
	return &p
}
