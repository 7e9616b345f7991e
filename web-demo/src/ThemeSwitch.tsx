// Light, dark, or as the system has it.

import { useEffect, useState } from 'react';

const THEMES = ['auto', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];

const REMEMBERED = 'copresence-theme';

export function ThemeSwitch() {
  const [theme, setTheme] = useState<Theme>(
    () => THEMES.find(theme => theme === localStorage.getItem(REMEMBERED)) ?? 'auto',
  );
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(REMEMBERED, theme);
  }, [theme]);
  return (
    <label className="theme">
      <span className="presence-hidden">Theme</span>
      <select value={theme} onChange={event => setTheme(event.target.value as Theme)}>
        {THEMES.map(theme => (
          <option key={theme} value={theme}>
            {theme === 'auto' ? 'Auto' : theme === 'light' ? 'Light' : 'Dark'}
          </option>
        ))}
      </select>
    </label>
  );
}
