// A workspace: its places with who is there, and following somebody around.

import { useCallback, useState } from 'react';

import { Face, type PresenceMap, useFollow, useWorkspacePresence } from '../presence';
import { CAST } from '../people';
import type { Seat } from '../Stage';

interface PlaceInfo {
  readonly path: string;
  readonly name: string;
  readonly type: 'channel' | 'document' | 'diagram' | 'project';
  readonly text: string;
}

const PLACES: readonly (PlaceInfo & { readonly under: string })[] = [
  { under: 'Talk', path: '/channels/general', name: '# general', type: 'channel', text: 'Where everybody arrives.' },
  { under: 'Talk', path: '/channels/design', name: '# design', type: 'channel', text: 'Colours, and what they mean.' },
  { under: 'Write', path: '/documents/roadmap', name: 'Roadmap', type: 'document', text: 'What comes next, and why not everything.' },
  { under: 'Write', path: '/documents/handbook', name: 'Handbook', type: 'document', text: 'How we work when nobody looks.' },
  { under: 'Draw', path: '/diagrams/architecture', name: 'Architecture', type: 'diagram', text: 'Boxes, arrows, and one that is missing.' },
  { under: 'Plan', path: '/projects/launch', name: 'Launch', type: 'project', text: 'Twelve tasks, three of them real.' },
];
const GROUPS = [...new Set(PLACES.map(place => place.under))];
const HOME = PLACES[0] as PlaceInfo;

export default function Workspace({ relay, person, room }: Seat) {
  const [path, setPath] = useState(HOME.path);
  const [followed, setFollowed] = useState<string | null>(null);
  const place = PLACES.find(place => place.path === path) ?? HOME;
  const { presenceMap, link } = useWorkspacePresence(relay, room, {
    currentPath: path,
    resourceType: place.type,
    resourceId: path.split('/').at(-1) ?? '',
  });
  const leader = useFollow(presenceMap, followed, setPath);
  const goTo = useCallback((path: string) => {
    // Whoever goes their own way follows nobody.
    setFollowed(null);
    setPath(path);
  }, []);
  const people = [...presenceMap.values()].sort((one, other) =>
    one.userName.localeCompare(other.userName),
  );

  return (
    <div className="workspace">
      <nav className="tree" aria-label={`Places, for ${person.name}`}>
        {GROUPS.map(group => (
          <div key={group}>
            <h2 className="tree-group">{group}</h2>
            <ul>
              {PLACES.filter(({ under }) => under === group).map(({ path: to, name }) => (
                <li key={to}>
                  <button
                    type="button"
                    className="tree-place"
                    data-path={to}
                    aria-current={to === path ? 'page' : undefined}
                    onClick={() => goTo(to)}
                  >
                    <span>{name}</span>
                    <Faces presenceMap={presenceMap} path={to} />
                  </button>
                </li>
              ))}
            </ul>
          </div>
        ))}
      </nav>
      <article className="place" aria-label={place.name}>
        {leader && (
          <p className="following" role="status">
            Following {leader.userName}.{' '}
            <button type="button" className="link" onClick={() => setFollowed(null)}>
              Stop
            </button>
          </p>
        )}
        <h1 className="room-title">{place.name}</h1>
        <p>{place.text}</p>
        <h2 className="tree-group">In this workspace</h2>
        {link === 'reconnecting' && (
          <p className="waiting" role="status">
            Connection lost. Reconnecting…
          </p>
        )}
        {people.length === 0 && link !== 'reconnecting' && (
          <p className="waiting">{link === 'connecting' ? 'Connecting…' : 'Nobody else is here.'}</p>
        )}
        <ul className="people" aria-label="Others in this workspace">
          {people.map(({ userId, userName, currentPath }) => (
            <li key={userId} data-user={userId}>
              <Face name={userName} color={colorOf(userId)} />
              <span className="people-name">{userName}</span>
              <span className="presence-quiet">
                {PLACES.find(place => place.path === currentPath)?.name ?? 'on the way'}
              </span>
              <button
                type="button"
                className="button button-quiet"
                aria-pressed={followed === userId}
                onClick={() => setFollowed(followed === userId ? null : userId)}
              >
                {followed === userId ? 'Following' : 'Follow'}
                <span className="presence-hidden"> {userName}</span>
              </button>
            </li>
          ))}
        </ul>
      </article>
    </div>
  );
}

const colorOf = (userId: string) => CAST.find(({ id }) => id === userId)?.color ?? null;

interface FacesProps {
  readonly presenceMap: PresenceMap;
  readonly path: string;
}

function Faces({ presenceMap, path }: FacesProps) {
  const here = [...presenceMap.values()].filter(user => user.currentPath === path);
  if (here.length === 0) return null;
  return (
    <span className="tree-faces">
      {here.map(({ userId, userName, userImage }) => (
        <Face key={userId} name={userName} avatar={userImage} color={colorOf(userId)} />
      ))}
      <span className="presence-hidden">{here.map(({ userName }) => userName).join(', ')} here</span>
    </span>
  );
}
