package maqettest

import (
	"regexp"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// Console is a guest's first serial port. Its methods fail the test when they can't do what they
// are to, and must be called from the goroutine that runs it.
type Console struct {
	g *Guest
	c guest.Console
}

// Console returns the guest's console. All of them have one position, which begins with what the
// guest has printed first, of a fork since it was made; [Console.Expect] moves it. (For
// a console with a position of its own, use g.Machine.Console.)
func (g *Guest) Console() *Console {
	g.tb.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.opened {
		c, err := g.Machine.Console()
		g.check(err)
		g.life.console, g.opened = c, true
	}
	return &Console{g: g, c: g.life.console}
}

// Expect waits until pattern, a regular expression (package regexp), matches what is printed
// from the position on, and moves the position behind the match. Lines end with "\r\n" as a
// rule. The test fails after 30 s (under TCG two minutes; see [Guest.Within]), and as soon as the
// guest is gone without having printed it.
func (c *Console) Expect(pattern string) guest.Match {
	c.g.tb.Helper()
	re, err := regexp.Compile(pattern)
	if err != nil {
		err = &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "expect " + pattern + " on the console of VM",
			VM: c.g.Name(), Err: err, Hint: "ExpectText takes a text as it is"}
	}
	c.g.check(err)
	ctx, cancel, _ := c.g.waiting(c.g.usual())
	defer cancel()
	match, err := c.c.Expect(ctx, re)
	c.g.check(err)
	return match
}

// ExpectText is [Console.Expect] for a fixed text.
func (c *Console) ExpectText(text string) guest.Match {
	c.g.tb.Helper()
	ctx, cancel, _ := c.g.waiting(c.g.usual())
	defer cancel()
	match, err := c.c.ExpectText(ctx, text)
	c.g.check(err)
	return match
}

// Send types text into the console: "\n" is the Enter key.
func (c *Console) Send(text string) {
	c.g.tb.Helper()
	ctx, cancel, _ := c.g.waiting(c.g.usual())
	defer cancel()
	c.g.check(c.c.Send(ctx, text))
}

// Text returns everything that the console has printed so far.
func (c *Console) Text() string {
	c.g.tb.Helper()
	ctx, cancel := c.g.bounded()
	defer cancel()
	text, err := c.c.Text(ctx)
	c.g.check(err)
	return text
}
