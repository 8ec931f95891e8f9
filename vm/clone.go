package vm

import (
	"maps"
	"slices"
)

// Clone returns a copy that shares nothing with i.
func (i Instance) Clone() Instance {
	i.Config = i.Config.Clone()
	i.Steps = slices.Clone(i.Steps)
	i.Plugged = slices.Clone(i.Plugged)
	for n, d := range i.Plugged {
		i.Plugged[n] = d.Clone()
	}
	i.Unplugged = slices.Clone(i.Unplugged)
	i.Layers = slices.Clone(i.Layers)
	i.Fork = clonePointer(i.Fork)
	i.Runtime = i.Runtime.clone()
	return i
}

// Clone returns a copy that shares nothing with c. Values of [Device].Props are
// copied as deeply as they are made of what JSON and YAML decode to.
func (c Config) Clone() Config {
	c.Boot.Files = maps.Clone(c.Boot.Files)
	c.Disks = slices.Clone(c.Disks)
	for i, d := range c.Disks {
		c.Disks[i].Keep = clonePointer(d.Keep)
	}
	c.Networks = slices.Clone(c.Networks)
	for i, n := range c.Networks {
		c.Networks[i].Forwards = slices.Clone(n.Forwards)
	}
	c.Shares = slices.Clone(c.Shares)
	c.Devices = slices.Clone(c.Devices)
	for i, d := range c.Devices {
		c.Devices[i].Props, _ = cloneValue(d.Props).(map[string]any)
	}
	c.Serials = slices.Clone(c.Serials)
	c.RNG = clonePointer(c.RNG)
	c.Balloon = clonePointer(c.Balloon)
	c.Watchdog = clonePointer(c.Watchdog)
	c.TPM = clonePointer(c.TPM)
	c.Vsock = clonePointer(c.Vsock)
	c.CloudInit = c.CloudInit.clone()
	c.FwCfg = slices.Clone(c.FwCfg)
	c.SMBIOS.OEMStrings = slices.Clone(c.SMBIOS.OEMStrings)
	c.Args = slices.Clone(c.Args)
	c.Labels = maps.Clone(c.Labels)
	return c
}

func (c *CloudInit) clone() *CloudInit {
	c = clonePointer(c)
	if c == nil {
		return nil
	}
	c.Users = slices.Clone(c.Users)
	for i, u := range c.Users {
		c.Users[i].SSHKeys, c.Users[i].Groups = slices.Clone(u.SSHKeys), slices.Clone(u.Groups)
	}
	c.Packages = slices.Clone(c.Packages)
	c.Files = slices.Clone(c.Files)
	c.Run = slices.Clone(c.Run)
	for i, command := range c.Run {
		c.Run[i] = slices.Clone(command)
	}
	return c
}

func (r Runtime) clone() Runtime {
	r.Args = slices.Clone(r.Args)
	r.Sockets = maps.Clone(r.Sockets)
	r.Terminals = maps.Clone(r.Terminals)
	r.Forwards = maps.Clone(r.Forwards)
	for name, list := range r.Forwards {
		r.Forwards[name] = slices.Clone(list)
	}
	r.Boot = r.Boot.clone()
	r.Cards = slices.Clone(r.Cards)
	r.Captures = maps.Clone(r.Captures)
	r.Helpers = slices.Clone(r.Helpers)
	for i, h := range r.Helpers {
		r.Helpers[i].Exit = clonePointer(h.Exit)
	}
	r.Disks = slices.Clone(r.Disks)
	for i, img := range r.Disks {
		r.Disks[i].Bases = slices.Clone(img.Bases)
	}
	r.Exit = clonePointer(r.Exit)
	return r
}

func (b BootFiles) clone() BootFiles {
	b.Cmdline, b.UEFI = slices.Clone(b.Cmdline), clonePointer(b.UEFI)
	return b
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// cloneValue copies a decoded JSON or YAML value.
func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = cloneValue(e)
		}
		return c
	case []any:
		if v == nil {
			return v
		}
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = cloneValue(e)
		}
		return c
	}
	return v
}
