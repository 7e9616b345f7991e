// TipTap with everybody's carets.

import Collaboration from '@tiptap/extension-collaboration';
import CollaborationCaret from '@tiptap/extension-collaboration-caret';
import { Placeholder } from '@tiptap/extensions';
import { type Editor as TipTap, EditorContent, useEditor, useEditorState } from '@tiptap/react';
import StarterKit from '@tiptap/starter-kit';

import type { Person } from '../people';
import { inkOn } from '../presence';
import type { SharedDocument } from './useSharedDocument';

export interface EditorProps {
  readonly shared: SharedDocument;
  readonly person: Person;
}

export function Editor({ shared: { doc, provider }, person }: EditorProps) {
  const editor = useEditor(
    {
      extensions: [
        // Undo is the shared document's: it takes back one's own edits only.
        StarterKit.configure({ undoRedo: false, link: false }),
        Placeholder.configure({ placeholder: 'Write something; the other sees it while you type.' }),
        Collaboration.configure({ document: doc }),
        CollaborationCaret.configure({
          provider,
          user: { name: person.name, color: person.color },
          render: drawCaret,
        }),
      ],
      editorProps: {
        attributes: {
          class: 'prose',
          role: 'textbox',
          'aria-multiline': 'true',
          'aria-label': `Notes of the session, as ${person.name}`,
        },
      },
    },
    [doc, provider],
  );
  return (
    <div className="editor">
      {editor && <Toolbar editor={editor} />}
      <EditorContent editor={editor} />
    </div>
  );
}

/** A line in the text with a name on it. */
function drawCaret(user: Record<string, string>): HTMLElement {
  const caret = document.createElement('span');
  caret.className = 'caret';
  const color = /^#[0-9a-f]{6}$/i.test(user.color ?? '') ? (user.color as string) : null;
  if (color) caret.style.setProperty('--caret', color);
  const label = document.createElement('span');
  label.className = 'caret-name';
  label.dataset.ink = inkOn(color);
  label.textContent = user.name ?? '';
  // The joiner keeps the line from breaking at the caret.
  caret.append('\u2060', label, '\u2060');
  return caret;
}

function Toolbar({ editor }: { readonly editor: TipTap }) {
  const active = useEditorState({
    editor,
    selector: ({ editor }) => ({
      bold: editor.isActive('bold'),
      italic: editor.isActive('italic'),
      heading: editor.isActive('heading', { level: 2 }),
      list: editor.isActive('bulletList'),
    }),
  });
  const button = (name: string, sign: string, isActive: boolean, run: () => void) => (
    <button
      type="button"
      className="tool"
      aria-label={name}
      aria-pressed={isActive}
      // The selection stays where it is.
      onMouseDown={event => event.preventDefault()}
      onClick={run}
    >
      {sign}
    </button>
  );
  const chain = () => editor.chain().focus();
  return (
    <div className="toolbar" role="group" aria-label="Format">
      {button('Bold', 'B', active.bold, () => chain().toggleBold().run())}
      {button('Italic', 'I', active.italic, () => chain().toggleItalic().run())}
      {button('Heading', 'H', active.heading, () => chain().toggleHeading({ level: 2 }).run())}
      {button('List', '•', active.list, () => chain().toggleBulletList().run())}
    </div>
  );
}
