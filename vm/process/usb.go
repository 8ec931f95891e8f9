package process

// usbController is the ID of the USB controller, which is made when something needs it.
const usbController = "usb"

// usbBus returns the name of the USB bus. The first call adds its controller, which needs
// PCI: of a microvm the caller has to refuse what would go there.
func (b *builder) usbBus() string {
	b.controller(usbController, "usb", "qemu-xhci")
	return usbController + ".0"
}
