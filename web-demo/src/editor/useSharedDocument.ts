// A document that is edited together: a Yjs document and its Hocuspocus provider.

import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider';
import { useEffect, useState } from 'react';
import * as Y from 'yjs';

import type { OwnRelay } from '../relay';

export interface SharedDocument {
  readonly doc: Y.Doc;
  readonly provider: HocuspocusProvider;
}

/** Opens a document for as long as the component is mounted; nothing in the first moment. */
export function useSharedDocument(relay: OwnRelay, name: string): SharedDocument | null {
  const [shared, setShared] = useState<SharedDocument | null>(null);
  useEffect(() => {
    const doc = new Y.Doc();
    const socket = new HocuspocusProviderWebsocket({
      url: relay.collabUrl,
      WebSocketPolyfill: relay.WebSocket,
      // Back soon: nobody should see us gone who need not.
      delay: 300,
      minDelay: 300,
      maxDelay: 5_000,
    });
    const provider = new HocuspocusProvider({
      name,
      document: doc,
      websocketProvider: socket,
      token: relay.token,
    });
    provider.attach();
    // They live and end with the effect, so nothing before it can have made them.
    // oxlint-disable-next-line react/set-state-in-effect
    setShared({ doc, provider });
    return () => {
      setShared(null);
      provider.destroy();
      socket.destroy();
      doc.destroy();
    };
  }, [relay, name]);
  return shared;
}
