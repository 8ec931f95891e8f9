package vm

import (
	"fmt"
	"strings"

	"github.com/maqet/maqet/internal/layered"
)

// aliases are options that QEMU has under a second name.
var aliases = map[string]string{"M": "machine"}

// unkept has the options that maqet can't pass on, with what to do instead.
var unkept = map[string]string{
	"uuid":      "remove it: each VM has an ID of its own",
	"S":         "remove it, and start with vm.StartPaused",
	"sandbox":   "remove it: maqet uses the sandbox where QEMU has it",
	"daemonize": "remove it, and set lifetime: persistent",
	"runas":     "remove it, and run the program as that user",
	"run-with":  "remove it",
	"pidfile":   "remove it: Instance.Runtime.Process has the PID",
	"pflash":    "write boot: {firmware: uefi}",
	"vnc":       "write display: {type: vnc}; it listens on a unix socket",
	"spice":     "write display: {type: spice}; it listens on a unix socket",
	"loadvm":    "remove it, and load the snapshot after the start",
	"incoming":  "remove it",
	"snapshot":  "write base: instead of path: for each disk",
	"virtfs":    "write shares: [{path: folder}]",
	"fda":       "write a device with its blockdev in args",
	"sd":        "write a device with its blockdev in args",
	"mtdblock":  "write a device with its blockdev in args",
}

// place puts an option where a Config has it.
func (p *python) place(o option) {
	if name, ok := aliases[o.name]; ok {
		o.name = name
	}
	if fix, no := unkept[o.name]; no {
		p.add(o.at, o.field, "-"+o.name, "can't be kept", fix)
		return
	}
	switch o.name {
	case "nodefaults", "no-user-config": // always so
	case "nographic":
		p.put(o.field, "display.type", layered.NewText(DisplayNone, o.at))
	case "enable-kvm":
		p.put(o.field, "accel", layered.NewText("kvm", o.at))
	case "no-kvm":
		p.put(o.field, "accel", layered.NewText("tcg", o.at))
	case "accel":
		p.accel(&o, o.main("accel"))
		p.leftOver(&o)
	case "machine":
		p.machine(&o)
	case "m":
		p.memory(&o)
	case "smp":
		p.smp(&o)
	case "cpu":
		p.put(o.field, "cpu.model", layered.NewText(o.value, o.at))
	case "name":
		p.text("name", &o, o.main("guest"))
		p.leftOver(&o)
	case "kernel", "initrd":
		p.text("boot."+o.name, &o, o.value)
	case "append":
		p.text("boot.cmdline", &o, o.value)
	case "bios":
		path := o.value
		if path != "" && !strings.Contains(path, "/") {
			path = "./" + path // the Python maqet looks beside the file
		}
		p.text("boot.firmware", &o, path)
	case "display":
		p.display(layered.NewText(o.value, o.at), o.field)
	case "vga":
		p.vga(layered.NewText(o.value, o.at), o.field)
	case "serial":
		p.serial(&o)
	case "drive", "hda", "hdb", "hdc", "hdd", "cdrom":
		p.drive(&o)
	default:
		p.raw(&o)
	}
}

// text sets a field to a value, which has to be there.
func (p *python) text(key string, o *option, value string) {
	if value == "" {
		p.add(o.at, o.field, "-"+o.name, "has no value", "give it one, or remove it")
		return
	}
	p.put(o.field, key, layered.NewText(value, o.at))
}

// leftOver reports the keys of an option that nothing was made of.
func (p *python) leftOver(o *option) {
	for _, kv := range o.pairs {
		message, fix := "can't be kept: a configuration has no field for it", "remove it"
		if kv.twice {
			message, fix = "is given twice", "keep one of them"
		}
		p.add(o.at, o.field, "-"+o.name+" "+kv.key, message, fix)
	}
}

// raw is an option that maqet does not generate: it goes to args.
func (p *python) raw(o *option) {
	p.filesIn(o)
	words := []*layered.Node{layered.NewText("-"+o.name, o.at)}
	if !o.bare {
		words = append(words, layered.NewText(o.value, o.at))
	}
	p.push("args", words...)
}

func (p *python) accel(o *option, name string) {
	switch name {
	case "kvm", "tcg":
		p.put(o.field, "accel", layered.NewText(name, o.at))
	case "kvm:tcg":
		p.put(o.field, "accel", layered.NewText("auto", o.at))
	default:
		p.add(o.at, o.field, name, "is not an accelerator that maqet uses", "write accel: kvm, tcg or auto")
	}
}

func (p *python) machine(o *option) {
	name := o.main("type")
	if accel := o.take("accel"); accel != "" {
		p.accel(o, accel)
	}
	p.leftOver(o)
	if name != "" {
		p.put(o.field, "machine", layered.NewText(name, o.at))
	}
}

// memory is QEMU's -m, whose numbers are MiB.
func (p *python) memory(o *option) {
	mebi := func(key, text string) {
		if text == "" {
			return
		}
		if strings.Trim(text, "0123456789") == "" {
			text += "M"
		}
		p.put(o.field, key, layered.NewText(text, o.at))
	}
	mebi("memory", o.main("size"))
	mebi("max_memory", o.take("maxmem"))
	o.take("slots") // there are eight
	p.leftOver(o)
}

func (p *python) smp(o *option) {
	number := func(key, text string) {
		if text != "" {
			n := layered.NewText(text, o.at)
			n.Value = wholeNumber(text)
			p.put(o.field, "cpu."+key, n)
		}
	}
	number("count", o.main("cpus"))
	number("max", o.take("maxcpus"))
	for _, key := range []string{"sockets", "cores", "threads"} {
		number(key, o.take(key))
	}
	p.leftOver(o)
}

// wholeNumber returns an int64, or the text where it is none.
func wholeNumber(text string) any {
	var n int64
	if _, err := fmt.Sscanf(text+"\n", "%d\n", &n); err != nil {
		return text
	}
	return n
}

func (p *python) serial(o *option) {
	if o.value == "none" {
		p.put(o.field, "console.disabled", layered.NewBool(true, o.at))
		return
	}
	p.add(o.at, o.field, "-serial "+o.value, "can't be kept: the first serial port is maqet's console, which Instance.Runtime.Console has",
		"remove it, or write serials: [{type: isa, file: port.log}] for one more port")
}

// drive is QEMU's -drive and its short forms.
func (p *python) drive(o *option) {
	disk := layered.NewMap(o.at)
	set := func(key, text string) {
		if text != "" {
			disk.Set(key, o.at, layered.NewText(text, o.at))
		}
	}
	file := o.value
	if o.name == "drive" {
		if o.head != "" { // it is short for nothing: a switch
			o.pairs = append(o.pairs, pair{key: o.head, bare: true})
		}
		file = o.take("file")
	}
	if o.name == "cdrom" {
		set("media", MediaCDROM)
	}
	set("path", file)
	set("format", o.take("format"))
	set("media", o.take("media"))
	set("cache", o.take("cache"))
	set("aio", o.take("aio"))
	set("discard", o.take("discard"))
	set("serial", o.take("serial"))
	if on, ok := o.takeSwitch("readonly", "read-only"); ok {
		disk.Set("read_only", o.at, layered.NewBool(on, o.at))
	}
	switch bus := o.take("if"); bus {
	case "":
	case "virtio", "ide", "scsi":
		set("interface", bus)
	case "pflash":
		p.add(o.at, o.field, "-drive if=pflash", "can't be kept", "write boot: {firmware: uefi}")
		return
	default:
		p.add(o.at, o.field, "-drive if="+bus, "can't be kept", "write the disk in disks, with an interface")
		return
	}
	p.leftOver(o)
	if file == "" {
		p.add(o.at, o.field, "-"+o.name, "has no file", "write the disk in disks")
		return
	}
	p.push("disks", disk)
}
