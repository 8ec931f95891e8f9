# The guest of the cases that need a PC and no system: code of a Linux kernel's setup part,
# which runs in real mode. TestPCGuest compares pc.go with what this assembles to.
#
# It prints "ready", and echoes what it reads from the first serial port, but for
# P (power off), R (reset), C (tell the panic device of a crash) and L (print 1024 lines). The power
# button powers it off, too. Ports: 16550 UART at 0x3f8, ACPI PM1 at 0x600 (where SeaBIOS
# puts it), reset control at 0xcf9, PCI configuration at 0xcf8
# and 0xcfc.
	.code16
	.text
	cld
	movw $0x3fb, %dx	# 115200 baud, 8N1, no interrupts, FIFOs
	movb $0x80, %al
	outb %al, %dx
	movw $0x3f8, %dx
	movw $0x0001, %ax
	outw %ax, %dx
	movw $0x3fb, %dx
	movb $0x03, %al
	outb %al, %dx
	movw $0x3f9, %dx
	xorb %al, %al
	outb %al, %dx
	movw $0x3fa, %dx
	movb $0x07, %al
	outb %al, %dx
	movw $0x602, %dx	# the power button is told
	movw $0x0100, %ax
	outw %ax, %dx
	movw $banner, %si
	call print
idle:
	sti			# the BIOS's timer wakes it 18 times a second
	hlt
poll:
	movw $0x600, %dx
	inw %dx, %ax
	testb $0x01, %ah
	jnz off
	movw $0x3fd, %dx
	inb %dx, %al
	testb $0x01, %al
	jz idle
	movw $0x3f8, %dx
	inb %dx, %al
	cmpb $'P', %al
	je off
	cmpb $'R', %al
	je reset
	cmpb $'C', %al
	je crash
	cmpb $'L', %al
	je lines
	call put
	jmp poll
off:
	movw $0x604, %dx	# S5
	movw $0x2000, %ax
	outw %ax, %dx
	jmp idle
reset:
	movw $0xcf9, %dx
	movb $0x06, %al
	outb %al, %dx
	jmp idle
crash:
	movw $0x505, %dx	# where an ISA one is
	movb $0x01, %al
	outb %al, %dx
	movl $0x80000000, %ebx	# a PCI one is looked for on the root bus
1:
	movw $0xcf8, %dx
	movl %ebx, %eax
	outl %eax, %dx
	movw $0xcfc, %dx
	inl %dx, %eax
	cmpl $0x00111b36, %eax
	je 2f
	addw $0x0800, %bx
	jnc 1b
	jmp idle
2:
	movb $0x10, %bl		# its memory is moved to where VGA's would be
	movw $0xcf8, %dx
	movl %ebx, %eax
	outl %eax, %dx
	movw $0xcfc, %dx
	movl $0xa0000, %eax
	outl %eax, %dx
	movb $0x04, %bl		# and enabled
	movw $0xcf8, %dx
	movl %ebx, %eax
	outl %eax, %dx
	movw $0xcfc, %dx
	movw $0x0002, %ax
	outw %ax, %dx
	movw $0xa000, %ax
	movw %ax, %es
	movb $0x01, %es:0
	jmp idle
lines:
	xorw %bx, %bx
1:
	movb $12, %cl		# the number, with the digits a to p
2:
	movw %bx, %ax
	shrw %cl, %ax
	andb $0x0f, %al
	addb $'a', %al
	call put
	subb $4, %cl
	jns 2b
	movw $tail, %si
	call print
	incw %bx
	cmpb $0x04, %bh
	jne 1b
	jmp poll
print:
	lodsb
	testb %al, %al
	jz 3f
	call put
	jmp print
put:
	movb %al, %ah
	movw $0x3fd, %dx
4:
	inb %dx, %al
	testb $0x20, %al
	jz 4b
	movw $0x3f8, %dx
	movb %ah, %al
	outb %al, %dx
3:
	ret
banner:
	.asciz "ready\n"
tail:
	.asciz " 0123456789 0123456789 0123456789 0123456789 0123456789\n"
