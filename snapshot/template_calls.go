package snapshot

import (
	"context"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Templates lists the templates that are there, ordered by name.
func (c *Coordinator) Templates(context.Context) ([]Template, error) {
	if c.templates == nil {
		return nil, nil
	}
	list, err := c.templates.list()
	out := make([]Template, len(list))
	for i, rec := range list {
		out[i] = rec.Template
	}
	return out, err
}

// Template returns a template by its name. errors.ErrTemplateNotFound.
func (c *Coordinator) Template(_ context.Context, name string) (Template, error) {
	if c.templates == nil {
		return Template{}, noTemplates("find template " + name)
	}
	rec, err := c.templates.read(name)
	if err != nil {
		return Template{}, err
	}
	return rec.Template, nil
}

// DeleteTemplate deletes a template with its memory and its disks. One that forks or other
// templates stand on is errors.ErrTemplateInUse, which names them: remove those first. One whose
// manifest is damaged, or of another version of maqet, is deleted, too; if that does not even say
// its ID, the images of its disks stay.
func (c *Coordinator) DeleteTemplate(ctx context.Context, name string) (err error) {
	what := "delete template " + name
	if c.templates == nil {
		return noTemplates(what)
	}
	if err := checkTemplateName(name); err != nil {
		return err
	}
	lock, err := c.templates.lock(ctx, name)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, what, "", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	rec, err := c.templates.readToDelete(name)
	if err != nil {
		return err
	}
	users, err := c.usersOf(ctx, rec.ID)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, what, "", err)
	}
	if len(users) > 0 {
		shown := strings.Join(users[:min(len(users), namesShown)], ", ")
		return &errors.Error{Kind: errors.ErrTemplateInUse, Op: what, Msg: "it is used by " + shown, Hint: "remove those first"}
	}
	return errors.Wrap(errors.ErrSnapshot, what, "", c.templates.remove(ctx, rec))
}

// usersOf names the VMs and the templates that stand on a template.
func (c *Coordinator) usersOf(ctx context.Context, id string) (users []string, err error) {
	vms, err := c.vms.List(ctx, vm.Filter{})
	if err != nil {
		return nil, err
	}
	for _, inst := range vms {
		if inst.Fork != nil && inst.Fork.ID == id {
			users = append(users, "VM "+inst.Name)
		}
	}
	disks, err := c.templates.disksOver(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, inst := range vms {
		if slices.ContainsFunc(disks, func(f storage.File) bool { return f.Owner == inst.ID }) && !slices.Contains(users, "VM "+inst.Name) {
			users = append(users, "VM "+inst.Name)
		}
	}
	list, err := c.templates.list()
	for _, rec := range list {
		if rec.ParentID == id {
			users = append(users, "template "+rec.Name)
		}
	}
	return users, err
}
