package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type syncArgs struct {
	ID *int64 `json:"id"`
}

func (a *agent) sync(args syncArgs) (any, error) {
	if args.ID == nil {
		return nil, errGeneric("Parameter 'id' is missing")
	}
	return *args.ID, nil
}

type commandInfo struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
	Success bool   `json:"success-response"`
}

type guestInfo struct {
	Version  string        `json:"version"`
	Commands []commandInfo `json:"supported_commands"`
}

// protocolVersion is the release of the QEMU guest agent whose commands this
// one has the semantics of.
const protocolVersion = "8.1.0"

// info lists the commands, and as further names what this init can do over
// ports of its own.
func (a *agent) info(empty) (any, error) {
	info := guestInfo{Version: protocolVersion}
	for _, c := range allCommands() {
		info.Commands = append(info.Commands, commandInfo{Name: c.name, Enabled: true, Success: c.name != "guest-shutdown"})
	}
	for _, f := range features {
		info.Commands = append(info.Commands, commandInfo{Name: f, Enabled: true, Success: true})
	}
	return info, nil
}

type setTimeArgs struct {
	Time *int64 `json:"time"` // nanoseconds since 1970
}

func (a *agent) setTime(args setTimeArgs) (any, error) {
	if args.Time == nil {
		return nil, errGeneric("without a time the clock would be read, which this agent does not do")
	}
	return empty{}, setClock(time.Unix(0, *args.Time))
}

type shutdownArgs struct {
	Mode string `json:"mode"`
}

func (a *agent) shutdown(args shutdownArgs) (any, error) {
	how, ok := map[string]int{
		"":          syscall.LINUX_REBOOT_CMD_POWER_OFF,
		"powerdown": syscall.LINUX_REBOOT_CMD_POWER_OFF,
		"halt":      syscall.LINUX_REBOOT_CMD_HALT,
		"reboot":    syscall.LINUX_REBOOT_CMD_RESTART,
	}[args.Mode]
	if !ok {
		return nil, errGeneric("mode is invalid (valid values are: halt|powerdown|reboot)")
	}
	go a.power.shutdown(how)
	return noReply, nil
}

func (a *agent) hostName(empty) (any, error) {
	name, err := os.Hostname()
	return map[string]string{"host-name": name}, err
}

// osInfo answers with uname(2) and os-release(5).
func (a *agent) osInfo(empty) (any, error) {
	info := map[string]string{"id": "maqet", "name": "maqet", "pretty-name": "maqet default guest"}
	text, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		name := osReleaseNames[key]
		if !ok || name == "" {
			continue
		}
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		info[name] = strings.Trim(value, "'")
	}
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	info["kernel-release"] = utsString(u.Release[:])
	info["kernel-version"] = utsString(u.Version[:])
	info["machine"] = utsString(u.Machine[:])
	return info, nil
}

var osReleaseNames = map[string]string{
	"ID": "id", "NAME": "name", "PRETTY_NAME": "pretty-name", "VERSION": "version", "VERSION_ID": "version-id",
	"VARIANT": "variant", "VARIANT_ID": "variant-id",
}

// utsString is a C string whose characters have the platform's signedness.
func utsString[T int8 | uint8](s []T) string {
	var b strings.Builder
	for _, c := range s {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}
