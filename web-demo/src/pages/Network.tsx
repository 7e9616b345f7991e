// The network: what those you follow are doing, and what they see of you.

import { useState } from 'react';

import { CAST, nameOf } from '../people';
import { Face, type FeedStatus, type FeedUser, lastSeenText, useFeed } from '../presence';
import type { Seat } from '../Stage';
import { useNow } from '../useNow';

const STATUSES: readonly FeedStatus[] = ['Online', 'Away', 'Invisible'];
const ACTIVITIES = ['Idle', 'Reading', 'Coding', 'Debugging'];
const LANGUAGES = ['', 'Rust', 'TypeScript', 'Go', 'Python'];

export default function Network({ relay, person }: Seat) {
  const { users, link, update } = useFeed(relay);
  const [status, setStatus] = useState<FeedStatus>('Online');
  const [activity, setActivity] = useState('Idle');
  const [project, setProject] = useState('');
  const [language, setLanguage] = useState('');
  return (
    <>
      <h1 className="room-title">{person.name}’s network</h1>
      <form className="own" aria-label="What you show" onSubmit={event => event.preventDefault()}>
        <Choice
          label="Status"
          value={status}
          options={STATUSES}
          onChange={value => {
            setStatus(value as FeedStatus);
            update({ status: value as FeedStatus });
          }}
        />
        <Choice
          label="Activity"
          value={activity}
          options={ACTIVITIES}
          onChange={value => {
            setActivity(value);
            update({ activity: value });
          }}
        />
        <Choice
          label="Language"
          value={language}
          options={LANGUAGES}
          onChange={value => {
            setLanguage(value);
            update({ language: value });
          }}
        />
        <label className="field">
          Project
          <input
            value={project}
            maxLength={60}
            autoComplete="off"
            onChange={event => {
              setProject(event.target.value);
              update({ project: event.target.value });
            }}
          />
        </label>
      </form>
      {status === 'Invisible' && (
        <p className="hint-quiet">Your followers see you offline, since the moment you hid.</p>
      )}
      <h2 className="tree-group">You follow</h2>
      {link === 'reconnecting' && (
        <p className="waiting" role="status">
          Connection lost. Reconnecting…
        </p>
      )}
      {link === 'connecting' && <p className="waiting">Connecting…</p>}
      <FeedList users={users} />
    </>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly value: string;
  readonly options: readonly string[];
  readonly onChange: (value: string) => void;
}

function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <label className="field">
      {label}
      <select value={value} onChange={event => onChange(event.target.value)}>
        {options.map(option => (
          <option key={option} value={option}>
            {option || '–'}
          </option>
        ))}
      </select>
    </label>
  );
}

function FeedList({ users }: { readonly users: readonly FeedUser[] }) {
  const now = useNow();
  return (
    <ul className="people feed" aria-label="People you follow">
      {users.map(({ username, status, activity, project, language, lastSeen }) => (
        <li key={username} data-user={username} data-status={status}>
          <Face
            name={nameOf(username)}
            color={CAST.find(({ id }) => id === username)?.color ?? null}
          />
          <span className="people-name">{nameOf(username)}</span>
          <span className="feed-status">
            <span
              className="presence-status-mark"
              data-status={status.toLowerCase()}
              aria-hidden="true"
            />
            {status}
          </span>
          <span className="presence-quiet feed-doing">
            {status === 'Offline'
              ? lastSeen === null
                ? 'never seen'
                : `last seen ${lastSeenText(lastSeen, now)}`
              : [activity, project && `on ${project}`, language && `in ${language}`]
                  .filter(Boolean)
                  .join(' ')}
          </span>
        </li>
      ))}
    </ul>
  );
}
