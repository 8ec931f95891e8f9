package process

import "slices"

// usbController is the ID of the USB controller, which is made when something needs it.
const usbController = "usb"

// usbBus returns the name of the USB bus. The first call adds its controller, which needs
// PCI: of a microvm the caller has to refuse what would go there.
func (b *builder) usbBus() string {
	if !slices.ContainsFunc(b.args, func(a argument) bool { return a.option == "device" && a.id == usbController }) {
		b.json("device", usbController, "usb", props{"driver": "qemu-xhci", "id": usbController})
	}
	return usbController + ".0"
}
