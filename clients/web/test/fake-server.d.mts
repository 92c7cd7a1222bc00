export interface FakeServer {
  url: string;
  closeAll(code: number): void;
  cutAll(): void;
  setPops(list: object | null, ms?: number): void;
  tell(streamId: string, type: string, payload: object): void;
  setKey(key: string): void;
  expireAll(): void;
  silenceAll(): void;
  end(streamId: string): void;
  connections(): number;
  stop(): Promise<void>;
}
export function fakeServer(port?: number): Promise<FakeServer>;
