export interface FakeServer {
  url: string;
  closeAll(code: number): void;
  cutAll(): void;
  tell(streamId: string, type: string, payload: object): void;
  stop(): Promise<void>;
}
export function fakeServer(port?: number): Promise<FakeServer>;
